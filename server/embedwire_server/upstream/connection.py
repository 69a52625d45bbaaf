"""Connections to the upstream, and what is known of a request that failed on one."""

import asyncio
import contextvars
import dataclasses
import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

CONNECT_SECONDS = 10.0


@dataclasses.dataclass(slots=True)
class Exchange:
    """How far a request came: whether it got a connection, whether an older one, and any byte of an answer.

    `is_begun` tells whether its bytes were written, `unsent` how many of them were still in memory when the
    connection was closed. `is_accepted` tells whether there was a TCP connection, also if TLS failed on it.
    """

    is_connected: bool = False
    is_reused: bool = False
    is_begun: bool = False
    is_accepted: bool = False
    is_answered: bool = False
    unsent: int = 0


current: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("embedwire_exchange", default=None)


class _Connection(ResponseHandler):
    """A connection that is cut when it is closed with bytes still unsent, and reports to its `Exchange`.

    A transport that is closed first sends what it has buffered. An upstream that has stopped reading
    would so keep the connection, and all that was meant for it, of a call that nobody waits for.
    """

    _exchange: Exchange | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        if (exchange := current.get()) is not None:
            exchange.is_accepted = True

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - as they come
        """Begin an exchange: aiohttp calls this in the task that asks, once it has given it this connection."""
        super().set_response_params(**params)
        is_reused = self._exchange is not None
        self._exchange = exchange = current.get() or Exchange()
        exchange.is_connected, exchange.is_reused = True, is_reused

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer; without any, aiohttp only goes on with what it has, perhaps of an earlier one."""
        if data and self._exchange is not None:
            self._exchange.is_answered = True
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail, and with it the body that is arriving: aiohttp would let its reader wait for ever."""
        super().set_exception(exc, *cause)
        if isinstance(exc, HttpProcessingError) and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientError("what arrived is not HTTP"))

    def close(self) -> None:
        """Close without a delay."""
        unsent = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if unsent:
            if self._exchange is not None:
                self._exchange.unsent = unsent
            self.abort()
        else:
            super().close()


class _Request(aiohttp.ClientRequest):
    """A request that tells its `Exchange` when its bytes are written."""

    async def write_bytes(self, *args: Any) -> None:  # noqa: ANN401 - as they come
        """Write what has been prepared."""
        if (exchange := current.get()) is not None:
            exchange.is_begun = True
        await super().write_bytes(*args)


def session() -> aiohttp.ClientSession:
    """As many connections as there are inputs in flight; no cookies, no proxy from the environment, raw bodies."""
    connector = aiohttp.TCPConnector(limit=0)
    connector._factory = functools.partial(_Connection, loop=asyncio.get_running_loop())  # type: ignore[assignment] # noqa: SLF001 - no public way
    return aiohttp.ClientSession(
        connector=connector,
        request_class=_Request,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        trust_env=False,
    )
