"""Who may call: tokens and their rights, and the certificates of TLS."""
