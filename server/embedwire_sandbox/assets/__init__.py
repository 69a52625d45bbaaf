"""Assets: uploaded files, and uploads in several chunks."""
