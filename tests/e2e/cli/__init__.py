"""Tests of the command `embedwire` in a shell and in scripts."""
