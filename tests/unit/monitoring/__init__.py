"""Tests of the dashboard and of the tools that test it with Prometheus."""
