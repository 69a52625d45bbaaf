"""Body of a response: it is decompressed, bounded and timed as it arrives."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import httpx

from embedwire_server.core.errors import GatewayError, Reason, ResourceFailure, RetrySafety, UpstreamFailure
from embedwire_server.core.failure_causes import OWN, WORDS, Cause
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http import connection_errors
from embedwire_server.upstreams.http.decompression import DecompressionError, Decompressor
from embedwire_server.upstreams.http.exchange import Exchange, Response
from embedwire_server.upstreams.twelvelabs import errors

MAX_REPLY_BYTES = 256 << 20
SHORT_BYTES = 64 << 10  # longest body that is parsed in one step
PIECE_BYTES = 64 << 10
ERROR_BODY_SECONDS = 5.0  # timeout for the body of an error response

Headers = dict[bytes, bytes]  # by lower-case name


class Body(Protocol):
    """Streamed body of a response, as its readers need it."""

    @property
    def status(self) -> int:
        """Status of the response."""
        ...

    @property
    def headers(self) -> Headers:
        """Headers of the response, by lower-case name."""
        ...

    @property
    def short_length(self) -> int | None:
        """Its declared length, if it can be parsed in one step; else None."""
        ...

    async def chunk(self) -> bytes:
        """Return more of the body; empty at its end.

        Raises:
            GatewayError: it is incomplete, too large, or cannot be decompressed.
        """
        ...

    async def close(self) -> None:
        """Release the connection."""
        ...


class ResponseBody:
    """Streamed body of a response; measures the time spent waiting for it.

    Attributes:
        status: of the response.
        headers: of the response, by lower-case name.
        short_length: its declared length, if it can be parsed in one step; else None.
    """

    def __init__(
        self,
        response: Response,
        headers: Headers,
        exchange: Exchange,
        call: EmbedCall,
        other_turns: Callable[[], Awaitable[None]],
    ) -> None:
        self.status = response.status
        self.headers = headers
        self._response = response
        self._exchange = exchange
        self._coding = decoded_headers(response).get("content-encoding", "") if b"content-encoding" in headers else ""
        self._decompressor: Decompressor | None = None
        self._call = call
        self._other_turns = other_turns
        self._size = 0
        length = headers.get(b"content-length", b"")
        is_short = not self._coding and length.isdigit() and len(length) <= len(str(SHORT_BYTES))
        self.short_length = int(length) if is_short and int(length) <= SHORT_BYTES else None

    async def chunk(self) -> bytes:
        """Return more of the body; empty at its end."""
        chunk = await (self._decompressed() if self._coding else self._received())
        self._count(chunk)
        return chunk

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_REPLY_BYTES:
            raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, "the upstream's reply is too large")

    async def _received(self) -> bytes:
        started = time.perf_counter()
        try:
            return await anext(self._response, b"")
        except httpx.TransportError as error:
            if self._exchange.fault:
                raise unusable(self._exchange.fault) from error
            cause = connection_errors.cause_of(error)
            raise connection_failure(
                cause, text="the upstream closed the connection before its reply was complete"
            ) from error
        finally:
            self._call.waiting += time.perf_counter() - started

    async def _decompressed(self) -> bytes:
        """Return one step of the decompressed body, yielding to other calls: a body may expand a thousandfold."""
        try:
            if self._decompressor is None:
                self._decompressor = Decompressor(self._coding)
            while not (chunk := self._decompressor.step()):
                await asyncio.sleep(0)
                if self._decompressor.needs_input:
                    if not (received := await self._received()):
                        self._decompressor.finish()
                        break
                    self._decompressor.feed(received)
                    self._count(received)  # also what decompresses to nothing
        except DecompressionError as error:
            raise unusable(str(error)) from error
        await (self._other_turns() if self._size > PIECE_BYTES else asyncio.sleep(0))
        return chunk

    async def head(self) -> bytes:
        """Return the start of an error body. The status counts even if the rest is truncated, late or malformed."""
        head = b""
        with contextlib.suppress(UpstreamFailure, TimeoutError):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                while len(head) <= errors.MAX_BODY_BYTES and (chunk := await self.chunk()):
                    head += chunk
        return head[: errors.MAX_BODY_BYTES]

    async def close(self) -> None:
        """Release the connection."""
        await self._response.aclose()


def unusable(fault: str) -> UpstreamFailure:
    """Build the failure for a response that cannot be used."""
    return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, f"the upstream's reply cannot be used: {fault}")


def connection_failure(cause: Cause, retry_safety: RetrySafety = RetrySafety.UNSAFE, text: str = "") -> GatewayError:
    """Build the failure for a cause, without the texts of exceptions, which may contain addresses.

    `text` replaces the message of the cause, except for `NOT_HTTP`.
    """
    if cause in OWN:
        return ResourceFailure(cause)
    reason = Reason.UPSTREAM_MALFORMED_REPLY if cause is Cause.NOT_HTTP else Reason.UPSTREAM_UNAVAILABLE
    message = WORDS[cause] if cause is Cause.NOT_HTTP or not text else text
    return UpstreamFailure(reason, message, retry_safety=retry_safety, cause=cause)


def decoded_headers(response: Response) -> httpx.Headers:
    """Return the headers as text; httpx would try several encodings, on every access."""
    return httpx.Headers(response.headers, encoding="iso-8859-1")
