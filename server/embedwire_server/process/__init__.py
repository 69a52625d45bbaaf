"""Processes: event loop runner, supervisor and workers, garbage collector tuning."""
