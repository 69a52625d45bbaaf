"""One upstream call over HTTP: the innermost `Upstream`, one attempt for one input.

The transport is called directly (an httpx client on top would only add cost), and it must not be
httpx's own, which loses connections for ever when calls are cancelled: see docs/decisions.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

import httpx

from embedwire_server.domain import Completion, Segment, content_of
from embedwire_server.errors import Reason, Repeatable, UpstreamFailure
from embedwire_server.trace import Trace
from embedwire_server.upstream import Part, UpstreamCall, connection, hints, refusal, wire
from embedwire_server.upstream.multipart import MultipartBody
from embedwire_server.upstream.parser import ReplyParser
from embedwire_server.upstream.turnstile import Turnstile

MAX_REPLY_BYTES = 256 << 20
PIECE_BYTES = 64 << 10
# Only the sandbox sends it; whoever answers with it is one, wherever it runs.
_SANDBOX_HEADER = "embedwire-upstream"


class HttpUpstream:
    """Embeds by `POST {base_url}{endpoint}`, multipart, as upstream API notes section 2 describe it.

    Args:
        transport: who carries the requests; the caller closes it.
        base_url: the API's root with its version, without a trailing slash.
        name: what results call this upstream.
        key: the server's API key, if any, for calls that bring none; kept out of every message and repr.
        user_agent: how requests name their sender.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, base_url: str, name: str, key: str | None, user_agent: str
    ) -> None:
        self._transport = transport
        self._base_url = base_url
        self._urls: dict[str, httpx.URL] = {}  # by endpoint: to parse one costs as much as to decode a short reply
        self._name = name
        self._key = key
        # No compression: it would delay the first segment, and a small reply could grow without bound.
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": user_agent}
        self._headers = httpx.Headers(headers).raw
        self._turnstile = Turnstile()

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Make one attempt; see `Upstream`."""
        response = await self._answer(call)
        reply = _Reply(response, call.trace, self._turnstile)
        try:
            key = call.key or self._key
            if reply.is_compressed_twice:
                message = (
                    "the upstream's reply cannot be used: it is compressed more than once"  # it may grow without bound
                )
                raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, message)
            if response.status_code not in wire.ANSWERED:
                raise refusal.refused(response, await reply.head(), key, is_callers_key=call.key is not None)
            parser = ReplyParser(call.input.modality, call.model.dimensions)
            while chunk := await reply.chunk():
                for start in range(0, len(chunk), PIECE_BYTES):  # a compressed one may grow a thousand times
                    if segments := _segments(call, parser, chunk[start : start + PIECE_BYTES]):
                        yield segments
                    if parser.fault is not None:
                        raise _malformed(parser.fault)
            completion = _completion(parser)
            if isinstance(completion, wire.Rejection):
                raise refusal.rejected(completion.message, key)
            yield refusal.cleaned(completion, key)
        finally:
            await reply.close()

    async def _answer(self, call: UpstreamCall) -> httpx.Response:
        """Send the request; returns when the head of the reply is there."""
        trace = call.trace
        body = await _body(call)
        await self._turnstile.passage()
        request = self._request(call, body)
        trace.attempts += 1
        trace.upstream, trace.hold = self._name, 0.0
        exchange = connection.Exchange()
        connection.current.set(exchange)
        started = time.perf_counter()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            if body.fault is not None:  # the file could not be read: no fault of the upstream's, and none to repeat
                raise body.fault from error
            failure = _named(error, "the upstream could not be reached, or closed the connection without an answer")
            failure.repeatable = _repeatable(exchange, body)
            raise failure from error
        except asyncio.CancelledError:
            if not exchange.is_begun or (body.inline is not None and exchange.unsent):
                trace.attempts -= 1  # given up before the upstream could know of it
            raise
        finally:
            trace.waiting += time.perf_counter() - started
        if response.headers.get(_SANDBOX_HEADER) == "sandbox":
            trace.upstream = "sandbox"
        trace.hold = hints.used_up(response.headers)
        return response

    def _request(self, call: UpstreamCall, body: MultipartBody) -> httpx.Request:
        headers = [
            *self._headers,
            (b"content-type", body.content_type.encode()),
            (b"content-length", str(body.length).encode()),
        ]
        if key := call.key or self._key:
            headers.append((b"x-api-key", key.encode()))
        return httpx.Request(
            "POST",
            self._url(call.model.endpoint),
            headers=headers,
            content=body.chunks() if body.inline is None else None,
            stream=None if body.inline is None else httpx.ByteStream(body.inline),  # spares a look at what is known
        )

    def _url(self, endpoint: str) -> httpx.URL:
        if endpoint not in self._urls:
            self._urls[endpoint] = httpx.URL(self._base_url + endpoint)
        return self._urls[endpoint]


async def _body(call: UpstreamCall) -> MultipartBody:
    content = content_of(call.input)
    size = await content.ready() if content is not None else 0
    return MultipartBody(wire.parts(call.input, call.model, size))


def _repeatable(exchange: connection.Exchange, body: MultipartBody) -> Repeatable:
    """Whether a request without an answer may be sent again: the closed list of the design, section 3."""
    if not exchange.is_connected or (not body.is_sent and not exchange.is_answered):
        return Repeatable.YES
    return Repeatable.ONCE if exchange.is_reused and not exchange.is_answered else Repeatable.NO


class _Reply:
    """The body of a reply as it arrives, in turn with others; the time spent waiting for it goes into the trace."""

    def __init__(self, response: httpx.Response, trace: Trace, turnstile: Turnstile) -> None:
        self._stream: httpx.AsyncByteStream = response.stream  # type: ignore[assignment] # of an async transport
        encoding = response.headers.get("content-encoding", "")
        self._chunks = response.aiter_bytes() if encoding else aiter(self._stream)
        self.is_compressed_twice = "," in encoding
        self._trace = trace
        self._turnstile = turnstile
        self._size = 0

    async def chunk(self) -> bytes:
        """More of it; nothing at its end."""
        started = time.perf_counter()
        try:
            chunk = await anext(self._chunks, b"")
        except httpx.DecodingError as error:
            message = "the upstream's reply cannot be used: it cannot be decompressed"
            raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, message) from error
        except httpx.TransportError as error:
            raise _named(error, "the upstream closed the connection in the middle of its reply") from error
        finally:
            self._trace.waiting += time.perf_counter() - started
        self._size += len(chunk)
        if self._size > MAX_REPLY_BYTES:
            raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, "the upstream's reply is too large")
        if chunk:
            await self._turnstile.passage()
        return chunk

    async def head(self) -> bytes:
        """As much of it as an error is read for."""
        head = b""
        while len(head) <= refusal.MAX_BODY_BYTES and (chunk := await self.chunk()):
            head += chunk
        return head[: refusal.MAX_BODY_BYTES]

    async def close(self) -> None:
        """Give back the connection that it comes from."""
        await self._stream.aclose()


def _segments(call: UpstreamCall, parser: ReplyParser, piece: bytes) -> list[Segment]:
    """The segments that these bytes complete."""
    started = time.perf_counter()
    try:
        return parser.feed(piece)
    finally:
        call.trace.decode += time.perf_counter() - started


def _completion(parser: ReplyParser) -> Completion | wire.Rejection:
    try:
        return parser.finish()
    except wire.MalformedReplyError as error:
        raise _malformed(error) from None


def _malformed(error: wire.MalformedReplyError) -> UpstreamFailure:
    return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, f"the upstream's reply cannot be used: {error}")


def _named(error: httpx.TransportError, message: str) -> UpstreamFailure:
    """What went wrong on the way, without the texts of exceptions, which may hold addresses."""
    if isinstance(error, httpx.RemoteProtocolError):
        message = "the upstream's reply cannot be used: it is not HTTP"
        return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, message)
    return UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, message)
