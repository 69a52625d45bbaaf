"""Tests with a real Redis server."""
