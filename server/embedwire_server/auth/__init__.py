"""Authentication: bearer tokens and their rights, and the certificates of TLS."""
