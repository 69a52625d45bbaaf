"""Server interceptors, outermost first: `observe`, `spans` if tracing is on, then `errors`.

Each wraps the handler, of any call type, once: gRPC's own interceptors are called again for every call, and leave
reference cycles behind each. Every handler is run as a coroutine that reads and writes, also the generators of other
libraries. So a call is one task, its cleanup happens there, and its time begins before its first message has arrived.
"""
