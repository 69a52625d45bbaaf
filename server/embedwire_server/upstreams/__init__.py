"""Upstreams: the interface, the API of each vendor, and HTTP."""
