"""What surrounds every call: `observe`, then `errors`, and nothing else.

Each wraps the handler, whatever its shape, once: gRPC's own interceptors are called again for every call, and leave
cycles of garbage behind each. Every handler is run as a coroutine that reads and writes, also the generators of other
libraries. So a call is one task, its cleanup happens there, and its time begins before its first message has arrived.
"""
