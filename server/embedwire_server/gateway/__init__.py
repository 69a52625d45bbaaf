"""One request: its inputs to the upstream, and their results to the caller."""
