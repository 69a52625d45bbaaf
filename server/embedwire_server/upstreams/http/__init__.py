"""One HTTP request for an input: connections, the request, the response."""
