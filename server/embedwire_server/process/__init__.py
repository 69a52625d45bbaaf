"""The processes: the event loop, the workers and their supervisor, and what the machine gives them."""
