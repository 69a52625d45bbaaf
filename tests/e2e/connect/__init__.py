"""How connections to the upstream are made."""
