"""Send the last message of a stream together with the status.

gRPC does so for handlers that return a single response. It does not check whether such a handler has written other
messages before. Sending the two separately costs system calls and a switch to another thread.
"""

from embedwire_server.rpc import handlers
from embedwire_server.rpc.handlers import Handler


def with_status(handler: Handler) -> Handler:
    """Copy the handler of a stream, which returns its last message instead of writing it."""
    return handlers.changed(handler, response_streaming=False)
