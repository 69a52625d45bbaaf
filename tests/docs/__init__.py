"""Every command and snippet of the documentation is run by a test."""
