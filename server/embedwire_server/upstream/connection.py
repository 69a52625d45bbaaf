"""Connections to the upstream, and how far a request came on one.

Only bytes that arrive after a request was written, and before its response is complete, belong to that response. Any
other byte closes the connection: it would otherwise be read as the response to the next request.
"""

import asyncio
import contextvars
import dataclasses
import functools
import select
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.payload import BytesPayload
from aiohttp.streams import StreamReader

from embedwire_server.upstream.framing import MAX_HEAD_BYTES, ResponseFraming

CONNECT_SECONDS = 10.0
MAX_HEADERS = 1024


@dataclasses.dataclass(slots=True)
class Exchange:
    """One request and what became of it; a request carries it as the extension `exchange`.

    Attributes:
        needs_fresh: only a new connection may be used. All idle connections are closed then: one of them was stale,
            and the others are as old.
        is_connected: whether the request got a connection.
        is_reused: whether that connection had carried a request before.
        is_begun: whether bytes of the request were written.
        is_accepted: whether there was a TCP connection, also if TLS failed on it.
        is_answered: whether any byte of a response arrived.
        is_early: whether the head of the response arrived while bytes of the request were still in memory.
        unsent: how many bytes were still in memory when the connection was closed.
        fault: why the response cannot be used, if the connection was closed for that; a text for callers.
    """

    needs_fresh: bool = False
    is_connected: bool = False
    is_reused: bool = False
    is_begun: bool = False
    is_accepted: bool = False
    is_answered: bool = False
    is_early: bool = False
    unsent: int = 0
    fault: str = ""


# How aiohttp's objects below find the exchange of the task that uses them.
current: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("embedwire_exchange", default=None)


class _Connection(ResponseHandler):
    """A connection that accepts bytes only as the response to a request, and reports to its `Exchange`.

    It is aborted when it is closed with bytes still unsent: a transport that is closed first sends what it has
    buffered, so an upstream that has stopped reading would keep the connection of a cancelled call.
    """

    _exchange: Exchange | None = None
    _framing: ResponseFraming | None = None
    _poll: "select.poll | None" = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        if (exchange := current.get()) is not None:
            exchange.is_accepted = True

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - as they come
        """Begin an exchange: aiohttp calls this in the task that asks, once it has given it this connection."""
        super().set_response_params(**params)
        is_reused = self._exchange is not None
        self._exchange = exchange = current.get() or Exchange()
        self._framing = ResponseFraming()
        exchange.is_connected, exchange.is_reused, exchange.needs_fresh = True, is_reused, False

    def begin(self) -> bool:
        """Prepare to write the request; false, with the connection closed, if something arrived before it."""
        if self._exchange is None or not super().is_connected():
            return False
        # On a new TLS connection, bytes that are not read yet are session tickets as a rule.
        if (self._exchange.is_reused or not self._is_tls) and self._is_readable():
            self.abort()
            return False
        self._exchange.is_begun = True
        return True

    def is_connected(self) -> bool:
        """Whether it can be used; aiohttp asks this of an idle connection before it gives it to a request."""
        if not super().is_connected() or self._framing is None or not self._framing.is_complete:
            return super().is_connected()
        exchange = current.get()
        return self._framing.is_exact and (exchange is None or not exchange.needs_fresh)

    @property
    def should_close(self) -> bool:
        """Whether it cannot be reused; more has arrived than the response, for example."""
        return super().should_close or self._framing is None or not self._framing.is_exact

    def data_received(self, data: bytes) -> None:
        """Take bytes of the response; without any, aiohttp only goes on with what it has."""
        exchange, framing = self._exchange, self._framing
        if not data:
            super().data_received(data)
        elif exchange is None or framing is None or not exchange.is_begun or framing.is_complete:
            self._abort()  # unsolicited
        else:
            exchange.is_answered = True
            while data and super().is_connected() and not framing.fault:
                piece, data = framing.split(data)
                if not framing.fault:
                    super().data_received(piece)
            if framing.fault:
                exchange.fault = framing.fault
                self.set_exception(HttpProcessingError(message=framing.fault))
                self._abort()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Pass on the head of a final response; aiohttp's parser calls this with each head."""
        if self._framing is None or self._exchange is None or not self._framing.accept(*data):
            return
        if self.transport is not None and self.transport.get_write_buffer_size():
            self._exchange.is_early = True
        super().feed_data(data, size)

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

    def _abort(self) -> None:
        """Abort the transport; unlike `abort`, this keeps the exception that the reader is to see."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def _is_tls(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    def _is_readable(self) -> bool:
        """Whether the kernel has bytes, or the end, that the event loop has not read yet."""
        if self._poll is None and self.transport is not None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return self._poll is None or bool(self._poll.poll(0))


class _Request(aiohttp.ClientRequest):
    """A request that is written only if nothing arrived before it."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write what has been prepared."""
        protocol = conn.protocol
        if not isinstance(protocol, _Connection) or not protocol.begin():
            return  # the end of the connection is what the reader of the response gets
        if not isinstance(self.body, BytesPayload):
            writer.send_headers()  # now, not with the first piece of a file that is still to be read
        await super().write_bytes(writer, conn, content_length)


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
        # The framing limits the whole head; aiohttp's own limits are below what some proxies and policies send.
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=MAX_HEADERS,
        trust_env=False,
    )
