"""HTTP upstream: makes one attempt for one input; the innermost `Upstream`."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import httpx

from embedwire_server.core.causes import OWN, PERMANENT, WORDS, Cause
from embedwire_server.core.errors import GatewayError, Reason, ResourceFailure, RetrySafety, UpstreamFailure
from embedwire_server.core.inputs import content_of
from embedwire_server.core.results import ReplySummary
from embedwire_server.upstreams.base import EmbedCall, Emit
from embedwire_server.upstreams.dialect import Dialect, MalformedReplyError
from embedwire_server.upstreams.http import diagnosis, rate_limit_headers
from embedwire_server.upstreams.http.decompression import DecompressionError, Decompressor
from embedwire_server.upstreams.http.exchange import Exchange, Request, Response, Sender
from embedwire_server.upstreams.twelvelabs import errors

ANSWERED = frozenset({200, 201, 202, 203})  # the 2xx with a complete body; the official SDK reads every 2xx
MAX_REPLY_BYTES = 256 << 20
SHORT_BYTES = 64 << 10  # longest body that is parsed at once
PIECE_BYTES = 64 << 10
ERROR_BODY_SECONDS = 5.0  # timeout for the body of an error response
# An attempt that is cancelled after this time without a connection counts as a failure to connect.
UNANSWERED_SECONDS = 1.0
# Sent by the sandbox only.
_SANDBOX_HEADER = b"embedwire-upstream"

_Headers = dict[bytes, bytes]  # by lower-case name


class HttpUpstream:
    """Makes one request for each input.

    Args:
        sender: sends the requests; the caller closes it.
        dialect: the API of the upstream.
        name: name of the upstream in results and metrics.
    """

    def __init__(self, sender: Sender, dialect: Dialect, name: str) -> None:
        self._sender = sender
        self._dialect = dialect
        self._name = name
        self._large = asyncio.Lock()  # locked by the large response that is being decoded

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt; see `Upstream`."""
        content = content_of(call.input)
        request = self._dialect.encode(call, 0 if content is None else await content.ready())
        exchange = Exchange(needs_fresh=call.needs_fresh_connection)
        response, headers = await self._send(call, request, exchange)
        body = _Body(response, headers, exchange, call, self._other_turns)
        try:
            if response.status not in ANSWERED:
                raise self._failure(call, request, response, exchange, await body.head())
            return await self._read(call, body, emit)
        finally:
            await body.close()

    async def _read(self, call: EmbedCall, body: "_Body", emit: Emit) -> ReplySummary:
        """Emit the segments of a body as they are decoded."""
        parser = self._dialect.parser(call)
        chunk = await body.chunk()
        if len(chunk) == body.short_length:  # it has arrived in one piece
            started = time.perf_counter()
            reply = parser.whole(chunk)
            call.decode += time.perf_counter() - started
            if reply is not None:
                await emit(reply[0])
                return reply[1]
        while chunk:
            for start in range(0, len(chunk), PIECE_BYTES):
                if len(chunk) > PIECE_BYTES:
                    await self._other_turns()
                started = time.perf_counter()
                segments = parser.feed(chunk[start : start + PIECE_BYTES])
                call.decode += time.perf_counter() - started
                if segments:
                    await emit(segments)
                if parser.fault is not None:
                    raise _unusable(str(parser.fault))
            chunk = await body.chunk()
        try:
            return parser.finish()
        except MalformedReplyError as error:
            raise _unusable(str(error)) from None

    async def _other_turns(self) -> None:
        """Yield to other calls before the next piece of a large response: many small values take long to decode.

        One large response continues at a time. Otherwise, one iteration of the event loop would decode a piece of each.
        """
        async with self._large:
            await asyncio.sleep(0)

    def _failure(
        self, call: EmbedCall, request: Request, response: Response, exchange: Exchange, head: bytes
    ) -> GatewayError:
        """Build the failure for an error status."""
        status = response.status
        if request.url.scheme == "http" and diagnosis.requires_tls(status, head):
            return _failed(Cause.PLAINTEXT_TO_TLS_PORT)
        if status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            return _failed(Cause.PROXY_AUTHENTICATION)
        failure = self._dialect.error(call, httpx.Response(status, headers=_decoded(response)), head)
        # Some servers send 408 before they close an idle connection, which may happen while the request is sent.
        if status == httpx.codes.REQUEST_TIMEOUT and exchange.is_reused and failure.retry_delay is None:
            failure.retry_safety = RetrySafety.FRESH
        return failure

    async def _send(self, call: EmbedCall, request: Request, exchange: Exchange) -> tuple[Response, "_Headers"]:
        """Send the request; return when the head of the response has arrived."""
        call.attempts += 1
        call.upstream, call.exhausted_for = self._name, 0.0
        started = time.perf_counter()
        try:
            response = await self._sender.send(request, exchange)
        except httpx.TransportError as error:
            if not exchange.request_started:
                call.attempts -= 1  # no byte of a request was sent
            if exchange.fault:
                raise _unusable(exchange.fault) from error
            cause = _cause(error, exchange)
            raise _failed(cause, _retry_safety(exchange, cause), diagnosis.message_of(error, cause)) from error
        except BaseException:  # cancelled, or the file could not be read
            if not exchange.is_connected and time.perf_counter() - started > UNANSWERED_SECONDS:
                call.stuck = Cause.TLS_TIMEOUT if exchange.is_accepted else Cause.CONNECT_TIMEOUT
            if not exchange.is_sent or exchange.unsent_bytes:
                call.attempts -= 1  # the upstream cannot act on a request that it does not have completely
            raise
        finally:
            call.waiting += time.perf_counter() - started
        headers = {name.lower(): value for name, value in response.headers}
        if headers.get(_SANDBOX_HEADER) == b"sandbox":
            call.upstream = "sandbox"
        if not rate_limit_headers.REMAINING.isdisjoint(headers):
            call.exhausted_for = rate_limit_headers.used_up(_decoded(response))
        if response.status in ANSWERED and exchange.is_early:
            await response.aclose()
            raise _unusable("it is a success, which arrived before the request was sent completely")
        return response, headers


def _cause(error: httpx.TransportError, exchange: Exchange) -> Cause:
    cause = diagnosis.cause_of(error)
    return Cause.TLS_TIMEOUT if cause is Cause.CONNECT_TIMEOUT and exchange.is_accepted else cause


def _retry_safety(exchange: Exchange, cause: Cause) -> RetrySafety:
    """Return whether a request without a response may be sent again: the closed list in README.md, "Guarantees"."""
    if cause in PERMANENT or exchange.is_answered:
        return RetrySafety.UNSAFE
    if cause is Cause.TLS_TIMEOUT:  # most likely a port without TLS, possibly an overloaded server
        return RetrySafety.ONCE
    if exchange.is_reused:
        return RetrySafety.FRESH
    return RetrySafety.UNSAFE if exchange.is_sent else RetrySafety.SAFE


def _decoded(response: Response) -> httpx.Headers:
    """Return the headers as text; httpx would try several encodings, on every access."""
    return httpx.Headers(response.headers, encoding="iso-8859-1")


class _Body:
    """Streamed body of a response; measures the time spent waiting for it.

    Attributes:
        short_length: its declared length, if it can be parsed at once; else None.
    """

    def __init__(
        self,
        response: Response,
        headers: _Headers,
        exchange: Exchange,
        call: EmbedCall,
        other_turns: Callable[[], Awaitable[None]],
    ) -> None:
        self._response = response
        self._exchange = exchange
        self._coding = _decoded(response).get("content-encoding", "") if b"content-encoding" in headers else ""
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
                raise _unusable(self._exchange.fault) from error
            cause = diagnosis.cause_of(error)
            raise _failed(cause, text="the upstream closed the connection before its reply was complete") from error
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
            raise _unusable(str(error)) from error
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


def _unusable(fault: str) -> UpstreamFailure:
    return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, f"the upstream's reply cannot be used: {fault}")


def _failed(cause: Cause, retry_safety: RetrySafety = RetrySafety.UNSAFE, text: str = "") -> GatewayError:
    """Build the failure for a cause, without the texts of exceptions, which may contain addresses.

    `text` replaces the message of the cause, except for `NOT_HTTP`.
    """
    if cause in OWN:
        return ResourceFailure(cause)
    reason = Reason.UPSTREAM_MALFORMED_REPLY if cause is Cause.NOT_HTTP else Reason.UPSTREAM_UNAVAILABLE
    message = WORDS[cause] if cause is Cause.NOT_HTTP or not text else text
    return UpstreamFailure(reason, message, retry_safety=retry_safety, cause=cause)
