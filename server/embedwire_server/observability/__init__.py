"""Observability: metrics, logs, reporting of exceptions, monitoring of resources."""
