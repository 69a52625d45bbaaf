"""One suite of cases for the clients of every language; see README.md."""
