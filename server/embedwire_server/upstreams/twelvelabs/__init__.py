"""TwelveLabs API.

v1          the dialect of the v1 endpoint
v1_form     form parts of v1 requests
v1_reply    parses v1 responses
errors      maps error responses to failures
error_body  extracts the message from an error body, in every common format
"""
