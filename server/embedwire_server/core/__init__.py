"""Domain types and errors, without dependencies on other packages of the server."""
