"""Tests of single modules, in the folders of their packages."""
