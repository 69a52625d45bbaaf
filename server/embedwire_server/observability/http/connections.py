"""HTTP connections that are limited in number, bytes and time.

Clients that send nothing, one byte a second, or read nothing cannot make the port unavailable, nor use up the file
descriptors of the process.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 16
MAX_CONNECTION_SECONDS = 10.0  # from its start to the end of the response
MIN_CONNECTION_SECONDS = 1.0  # after which a new connection may replace it if there are too many
MIN_SILENT_SECONDS = 0.1  # the same for a connection whose request has not arrived; these are replaced first
MAX_REQUEST_BYTES = 16 << 10
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\ntoo many connections\n"
)
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n"
    b"Connection: close\r\n\r\nthe request is too long\n"
)


class LimitedProtocol(HttpToolsProtocol):
    """A connection of uvicorn for one request, with the limits above.

    Attributes:
        began: when it was accepted, in seconds of the event loop's clock.
    """

    transport: asyncio.Transport

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the base takes them
        super().__init__(*args, **options)
        self.began = self.loop.time()
        self._bytes = 0
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base has it
        """Accept a connection. If there are too many, close an old one or reject this one with a 503."""
        is_full = len(self.connections) >= MAX_CONNECTIONS and not self._replace_one()
        super().connection_made(transport)
        self._expiry = self.loop.call_later(MAX_CONNECTION_SECONDS, transport.abort)
        if is_full:
            self._end(_BUSY)

    def data_received(self, data: bytes) -> None:
        """Parse a part of the request; reject one that is too long."""
        self._bytes += len(data)
        if self.transport.is_closing():
            return
        if self._bytes > MAX_REQUEST_BYTES:
            self._end(_TOO_LONG)
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what belongs to the connection."""
        if self._expiry is not None:
            self._expiry.cancel()
        super().connection_lost(exc)

    def abort_after(self, seconds: float) -> bool:
        """Close the connection, without waiting for its client, if it is older than this; return whether it is."""
        if self.loop.time() - self.began < seconds:
            return False
        self.connections.discard(self)
        self.transport.abort()
        return True

    @property
    def is_silent(self) -> bool:
        """Whether its request has not arrived completely, except for the body."""
        return self.cycle is None  # uvicorn creates it with the last byte of the headers

    def _replace_one(self) -> bool:
        """Close the oldest connection without a request, or else the oldest one; return whether one was old enough."""
        others = [one for one in self.connections if isinstance(one, LimitedProtocol)]
        others.sort(key=lambda one: (not one.is_silent, one.began))
        return any(one.abort_after(MIN_SILENT_SECONDS if one.is_silent else MIN_CONNECTION_SECONDS) for one in others)

    def _end(self, response: bytes) -> None:
        self.connections.discard(self)
        self.transport.write(response)
        self.transport.close()
