"""Tests of the native Python client, both of its classes, against real servers."""
