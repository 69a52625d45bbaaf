"""Ports that a test holds, instead of hoping that they stay free."""

import contextlib
import socket
from collections.abc import Generator


@contextlib.contextmanager
def held_port() -> Generator[int]:
    """A port of 127.0.0.1 for a server of this test. It refuses connections until then; no other process gets it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # lets one server bind it too, and listen
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
