"""Metrics, logs, and how exceptions are reported."""
