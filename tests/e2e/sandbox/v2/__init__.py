"""Tests of the sandbox; the official SDK is the reference for its HTTP responses."""
