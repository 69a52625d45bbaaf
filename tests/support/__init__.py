"""Shared helpers of tests: servers, upstreams, messages, media."""
