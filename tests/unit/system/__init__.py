"""Tests of what the guarantees are measured with."""
