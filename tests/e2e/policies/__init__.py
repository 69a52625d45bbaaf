"""Retries, rate limits and load shedding over real sockets."""
