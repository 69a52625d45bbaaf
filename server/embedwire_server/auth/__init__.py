"""Authentication: bearer tokens with their permissions, and TLS certificates."""
