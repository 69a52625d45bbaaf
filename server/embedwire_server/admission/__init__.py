"""Whether a request is taken on, checked once for each, before its first event."""
