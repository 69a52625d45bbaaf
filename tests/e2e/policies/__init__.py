"""Retries, rate limits and load shedding as callers and the upstream see them, over real sockets."""
