"""The API of TwelveLabs.

v1          the dialect of the v1 endpoint
v1_form     the form parts of its requests
v1_reply    its responses
errors      error responses to reasons
error_body  the message in the body of an error, in every common format
"""
