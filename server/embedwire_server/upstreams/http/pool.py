"""Connection pool of one origin. The connection used last is reused first, so that the others can expire."""

import asyncio
import time
from collections import deque

import httpx

from embedwire_server.upstreams.http.connection import Connection
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.exchange import Exchange

MAX_IDLE_SECONDS = 15.0  # a connection that the upstream closes sooner is detected before its use
MAX_AGE_SECONDS = 600.0  # new connections follow changes of DNS


class ConnectionPool:
    """Connection pool without a limit: the number of inputs in flight is limited elsewhere.

    Args:
        dialer: opens connections.
        max_idle: seconds without a request after which a connection is closed.
        max_age: seconds after which a connection is not used again.
    """

    def __init__(self, dialer: Dialer, max_idle: float = MAX_IDLE_SECONDS, max_age: float = MAX_AGE_SECONDS) -> None:
        self.dialer = dialer
        self._max_idle = max_idle
        self._max_age = max_age
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()  # may contain closed connections
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def open_connections(self) -> int:
        """Number of connections, with and without an exchange."""
        return len(self._open)

    async def connection(self, exchange: Exchange) -> Connection:
        """Return a connection for this exchange, an idle one if allowed.

        Raises:
            httpx.TransportError: no connection could be opened.
        """
        if exchange.needs_fresh:
            self._close_idle(before=time.monotonic())
        while self._idle and not exchange.needs_new:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.abort()
        return await self._new(exchange)

    async def aclose(self) -> None:
        """Close all connections; none is left when it returns."""
        if self._sweep is not None:
            self._sweep.cancel()
        while self._open:
            for connection in list(self._open):
                connection.abort()
            await asyncio.sleep(0)

    async def _new(self, exchange: Exchange) -> Connection:
        def on_accepted() -> None:
            exchange.is_accepted = True

        connection = await self.dialer.connect(lambda: Connection(self._put, self._open.discard), on_accepted)
        if not connection.is_usable:
            connection.abort()
            raise httpx.ReadError("bytes, or the end, arrived before the request was written") from EOFError()
        self._open.add(connection)
        return connection

    def _put(self, connection: Connection) -> None:
        if connection.idle_since - connection.opened_at > self._max_age:
            connection.abort()
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._max_idle, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        self._close_idle(before=time.monotonic() - self._max_idle)
        if self._idle:
            wait = self._idle[0].idle_since + self._max_idle - time.monotonic()
            self._sweep = asyncio.get_running_loop().call_later(wait, self._close_old)

    def _close_idle(self, before: float) -> None:
        while self._idle and self._idle[0].idle_since <= before:
            self._idle.popleft().abort()
