"""The gateway: sends the inputs of a request to the upstream, and their results to the reply."""
