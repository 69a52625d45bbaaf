"""Ports that a test keeps reserved until their server binds them."""

import contextlib
import socket
from collections.abc import Generator

_unused = socket.socket()
_unused.bind(("127.0.0.1", 0))
# HOST:PORT that refuses connections as long as this process lives: it is bound, and nothing listens there.
NO_SERVER = f"127.0.0.1:{_unused.getsockname()[1]}"


@contextlib.contextmanager
def held_port() -> Generator[int]:
    """A port of 127.0.0.1 for a server of this test. Before, it refuses connections, and no other process gets it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # allows one server to bind it too, and listen
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
