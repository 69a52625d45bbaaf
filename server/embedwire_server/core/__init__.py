"""Values and errors. Imports no other package of the server."""
