"""Bodies of requests: multipart forms and JSON, both read in pieces."""
