"""TwelveLabs API.

v1               the dialect of the v1 endpoint
v1_form          form parts of v1 requests
v1_reply         parses v1 responses
v2               the dialect of the v2 endpoints
v2_body          JSON bodies of v2 requests
v2_reply         parses v2 responses, synchronous and of tasks
request_builder  URL, headers and credential of every request
segments         parses the segments of every response
errors           maps error responses to failures
error_body       extracts the message from an error body, in every common format
"""
