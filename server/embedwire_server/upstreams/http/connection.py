"""HTTP/1.1 connection to the upstream: one exchange at a time, with backpressure in both directions.

Only bytes that arrive after a request was written, and before its response is complete, belong to that response. Any
other byte closes the connection: it would otherwise be read as the response to the next request.
"""

import asyncio
import select
import time
from collections.abc import Callable

from embedwire_server.upstreams.http.exchange import Exchange
from embedwire_server.upstreams.http.response_stream import ResponseStream


class Connection(asyncio.Protocol):
    """Connection of a pool.

    Args:
        on_idle: called when a response is complete and the connection can carry another request.
        on_closed: called when the connection has ended.

    Attributes:
        opened_at: time by `time.monotonic()`.
        idle_since: time by `time.monotonic()`; 0.0 before the first response was complete.
    """

    def __init__(self, on_idle: Callable[["Connection"], None], on_closed: Callable[["Connection"], None]) -> None:
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None  # until the connection has ended
        self._response: ResponseStream | None = None  # of the exchange under way
        self._writable = asyncio.Event()
        self._poll: select.poll | None = None
        self.opened_at = self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether it can carry a request: it is open, and nothing has arrived, not even unread in the kernel."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._poll is None:
            # On a new TLS connection, unread bytes are session tickets as a rule.
            if not self.idle_since and transport.get_extra_info("ssl_object") is not None:
                return True
            self._poll = select.poll()
            self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    @property
    def unsent_bytes(self) -> int:
        """Number of bytes of the request that are still in memory."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def begin(self, exchange: Exchange, data: bytes) -> ResponseStream:
        """Begin an exchange by writing these bytes; bytes that arrive from now on are the response."""
        exchange.is_connected, exchange.is_reused, exchange.request_started = True, self.idle_since > 0, True
        self._response = ResponseStream(self, exchange)
        self._write(data)
        return self._response

    async def write(self, data: bytes) -> bool:
        """Write more of the request; return when most of it is sent, or False if the connection has ended."""
        self._write(data)
        await self._writable.wait()
        return self._transport is not None

    def read(self, *, is_paused: bool) -> None:
        """Pause or resume reading."""
        if self._transport is not None and not self._transport.is_closing():
            if is_paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def release(self) -> None:
        """End the exchange, and keep the connection for another."""
        self._response = None
        self.idle_since = time.monotonic()
        self._on_idle(self)

    def abort(self) -> None:
        """Close immediately; `close` of a transport would first send its write buffer."""
        if self._transport is not None:
            self._transport.abort()
        self._end(ConnectionAbortedError())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport that carries HTTP; called by asyncio."""
        self._transport = transport  # type: ignore[assignment] # a stream's
        self._writable.set()
        self.opened_at = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """Feed the response; close the connection if there is none."""
        if self._response is None:
            self.abort()
        else:
            self._response.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection."""
        self._transport = None
        self._writable.set()
        self._end(exc)
        self._on_closed(self)

    def pause_writing(self) -> None:
        """Make `write` wait: the write buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `write` continue."""
        self._writable.set()

    def _end(self, error: Exception | None) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.end(error)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
