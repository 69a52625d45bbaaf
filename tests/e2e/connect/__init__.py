"""Tests of connections to the upstream."""
