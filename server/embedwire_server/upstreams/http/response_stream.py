"""Streamed response of one exchange: first the head, then the body piece by piece."""

import asyncio
from typing import Protocol, Self

import httpx

from embedwire_server.upstreams.http.exchange import Exchange, TlsRecordReceived
from embedwire_server.upstreams.http.response_parser import MalformedResponseError, ResponseParser

MAX_BUFFERED_BYTES = 512 << 10  # reading pauses above it, and resumes when the buffer is taken

_TLS_ALERT = b"\x15\x03"


class _Connection(Protocol):
    @property
    def unsent_bytes(self) -> int: ...
    def read(self, *, is_paused: bool) -> None: ...
    def release(self) -> None: ...
    def abort(self) -> None: ...


class ResponseStream(httpx.AsyncByteStream):
    """Stream of the response that a connection receives.

    The connection is released as soon as the response is complete, even if its body is still to be read here. It is
    aborted if the response cannot be used, and if the stream is closed before the response is complete.
    """

    def __init__(self, connection: _Connection, exchange: Exchange) -> None:
        self._connection: _Connection | None = connection  # until it is released
        self._exchange = exchange
        self._parser = ResponseParser()
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    @property
    def status(self) -> int:
        """Status of the final response; 0 until its head is complete."""
        return self._parser.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of the final response, as received."""
        return self._parser.headers

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the body that have arrived and are not read yet."""
        return self._buffered

    async def head(self) -> None:
        """Wait for the head; close the connection if cancelled.

        Raises:
            httpx.TransportError: there is no response.
        """
        try:
            while not self._parser.status:
                await self._more()
        except BaseException:
            self.abort()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return more of the body, as much as has arrived.

        Raises:
            httpx.TransportError: the response is not complete.
        """
        while not self._buffer:
            if self._parser.is_complete:
                raise StopAsyncIteration
            await self._more()
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        if self._is_paused:
            self._pause(is_paused=False)
        return data

    async def aclose(self) -> None:
        """Close the connection, unless the response is complete."""
        self.abort()

    def abort(self) -> None:
        """Close the connection, unless the response is complete."""
        connection, self._connection = self._connection, None
        self._parser.close()
        if connection is not None:
            self._exchange.unsent_bytes = connection.unsent_bytes
            connection.abort()

    def fail(self, error: BaseException) -> None:
        """Close the connection, and raise this error to readers after the bytes that have arrived."""
        if self._error is None and not self._parser.is_complete:
            self._error = error
        self.abort()
        self._wake()

    # Called by the connection.

    def feed(self, data: bytes) -> None:
        """Handle bytes of the response."""
        exchange, parser = self._exchange, self._parser
        exchange.is_answered = True
        is_head = not parser.status
        try:
            body = parser.feed(data)
        except MalformedResponseError as error:
            exchange.fault = parser.fault
            is_tls = is_head and data.startswith(_TLS_ALERT)
            self._fail(httpx.RemoteProtocolError(str(error)), TlsRecordReceived() if is_tls else error)
            return
        if is_head and parser.status and self._connection is not None:
            exchange.is_early = not exchange.is_sent or self._connection.unsent_bytes > 0
        if body:
            self._buffer.append(body)
            self._buffered += len(body)
        if parser.is_complete:
            self._complete()
        elif self._buffered > MAX_BUFFERED_BYTES and not self._is_paused:
            self._pause(is_paused=True)
        if parser.status:
            self._wake()

    def end(self, error: Exception | None) -> None:
        """Handle the end of the connection, which completes a response without a length."""
        self._connection = None
        if error is None and self._parser.finish():
            self._parser.close()
            self._wake()
        else:
            self._fail(httpx.ReadError("the connection ended"), error or EOFError())

    def _complete(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if not self._parser.is_reusable or not self._exchange.is_sent or connection.unsent_bytes:
            self.abort()
            return
        self._connection = None
        self._parser.close()
        if self._is_paused:
            connection.read(is_paused=False)
        connection.release()

    def _pause(self, *, is_paused: bool) -> None:
        self._is_paused = is_paused
        if self._connection is not None:
            self._connection.read(is_paused=is_paused)

    def _fail(self, error: httpx.TransportError, cause: BaseException) -> None:
        error.__cause__ = cause
        self.fail(error)

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
