"""Upstreams: the `Upstream` interface, the API of each vendor, and the HTTP client."""
