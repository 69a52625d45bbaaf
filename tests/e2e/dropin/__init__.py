"""Tests of the drop-in against the official SDK, which is the reference for results and exceptions."""
