"""Slow, broken and hostile callers: the response to each of them, and that other callers are served."""
