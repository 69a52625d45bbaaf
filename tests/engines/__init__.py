"""Tests of the examples for data engines and vector stores, with `make test-engines`."""
