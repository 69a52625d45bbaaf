"""Tests of the sandbox; the official SDK is the judge of what it says over HTTP."""
