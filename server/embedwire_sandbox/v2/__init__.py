"""The v2 dialect: `POST /embed-v2` and its tasks, JSON."""
