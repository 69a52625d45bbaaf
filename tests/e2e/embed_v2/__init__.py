"""Assets and tasks of Embed v2: a real server, with the sandbox as its upstream."""
