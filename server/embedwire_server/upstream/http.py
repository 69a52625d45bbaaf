"""One upstream call over HTTP: the innermost `Upstream`, one attempt for one input.

The transport is called directly (an httpx client on top would only add cost), and it must not be
httpx's own, which loses connections for ever when calls are cancelled: see docs/decisions.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx

from embedwire_server.causes import OWN, PERMANENT, WORDS, Cause
from embedwire_server.domain import Completion, Segment, content_of
from embedwire_server.errors import GatewayError, Reason, Repeatable, ResourceFailure, UpstreamFailure
from embedwire_server.trace import Trace
from embedwire_server.upstream import Part, UpstreamCall, diagnosis, hints, refusal, wire
from embedwire_server.upstream.decompression import DecompressionError, Decompressor
from embedwire_server.upstream.exchange import Exchange
from embedwire_server.upstream.multipart import MultipartBody
from embedwire_server.upstream.parser import ReplyParser

MAX_REPLY_BYTES = 256 << 20
PIECE_BYTES = 64 << 10
ERROR_BODY_SECONDS = 5.0  # the most that the body of an error is waited for
# An attempt that is given up after that long without a connection is one that found none.
UNANSWERED_SECONDS = 1.0
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
        self._is_plaintext = base_url.startswith("http:")
        self._urls: dict[str, httpx.URL] = {}  # by endpoint: to parse one costs as much as to decode a short reply
        self._name = name
        self._key = key
        self._large = asyncio.Lock()  # of the large reply that goes on
        # No compression: it would delay the first segment, and a small reply could grow without bound.
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": user_agent}
        self._headers = httpx.Headers(headers).raw

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Make one attempt; see `Upstream`."""
        response = await self._answer(call)
        key = call.key or self._key
        reply = _Reply(response, call.trace, self._other_turns)
        try:
            if response.status_code not in wire.ANSWERED:
                raise self._refused(call, response, await reply.head())
            parser = ReplyParser(call.input.modality, call.model.dimensions)
            while chunk := await reply.chunk():
                for start in range(0, len(chunk), PIECE_BYTES):
                    if len(chunk) > PIECE_BYTES:
                        await self._other_turns()
                    if segments := _segments(call, parser, chunk[start : start + PIECE_BYTES]):
                        yield segments
                    if parser.fault is not None:
                        raise _unusable(str(parser.fault))
            completion = _completion(parser)
            if isinstance(completion, wire.Rejection):
                raise refusal.rejected(completion.message, key)
            yield refusal.cleaned(completion, key)
        finally:
            await reply.close()

    async def _other_turns(self) -> None:
        """Let other calls have a turn before the next piece of a large reply: very many small values take long.

        Of all large replies, one goes on at a time. Otherwise, one round of the event loop decodes a piece of each.
        """
        async with self._large:
            await asyncio.sleep(0)

    def _refused(self, call: UpstreamCall, response: httpx.Response, head: bytes) -> GatewayError:
        """The failure that a status other than success means."""
        if self._is_plaintext and diagnosis.requires_tls(response.status_code, head):
            return _failed(Cause.PLAINTEXT_TO_TLS_PORT)
        if response.status_code == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            return _failed(Cause.PROXY_AUTHENTICATION)
        failure = refusal.refused(response, head, call.key or self._key, is_callers_key=call.key is not None)
        if _is_of_an_idle_connection(failure, response):
            failure.repeatable = Repeatable.FRESH
        return failure

    async def _answer(self, call: UpstreamCall) -> httpx.Response:
        """Send the request; returns when the head of the reply is there."""
        trace = call.trace
        body = await _body(call)
        request = self._request(call, body)
        exchange = Exchange(needs_fresh=call.needs_fresh_connection)
        request.extensions["exchange"] = exchange
        trace.attempts += 1
        trace.upstream, trace.hold = self._name, 0.0
        started = time.perf_counter()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            if not exchange.is_begun:
                trace.attempts -= 1  # no byte of a request was sent
            if exchange.fault:
                raise _unusable(exchange.fault) from error
            cause = _cause(error, exchange)
            raise _failed(cause, _repeatable(exchange, cause), diagnosis.words_of(error, cause)) from error
        except BaseException:  # cancelled, or the file could not be read
            if not exchange.is_connected and time.perf_counter() - started > UNANSWERED_SECONDS:
                trace.stuck = Cause.TLS_TIMEOUT if exchange.is_accepted else Cause.CONNECT_TIMEOUT
            if not exchange.is_sent or exchange.unsent:
                trace.attempts -= 1  # the upstream cannot act on a request that it does not have completely
            raise
        finally:
            trace.waiting += time.perf_counter() - started
        if response.headers.get(_SANDBOX_HEADER) == "sandbox":
            trace.upstream = "sandbox"
        trace.hold = hints.used_up(response.headers)
        if response.status_code in wire.ANSWERED and exchange.is_early:
            await response.aclose()
            raise _unusable("it is a success, sent before the request had been sent completely")
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
            stream=body if body.inline is None else httpx.ByteStream(body.inline),
        )

    def _url(self, endpoint: str) -> httpx.URL:
        if endpoint not in self._urls:
            self._urls[endpoint] = httpx.URL(self._base_url + endpoint)
        return self._urls[endpoint]


async def _body(call: UpstreamCall) -> MultipartBody:
    content = content_of(call.input)
    size = await content.ready() if content is not None else 0
    return MultipartBody(wire.parts(call.input, call.model, size))


def _cause(error: httpx.TransportError, exchange: Exchange) -> Cause:
    cause = diagnosis.cause_of(error)
    return Cause.TLS_TIMEOUT if cause is Cause.CONNECT_TIMEOUT and exchange.is_accepted else cause


def _repeatable(exchange: Exchange, cause: Cause) -> Repeatable:
    """Whether a request without an answer may be sent again: the closed list of the design, section 3."""
    if cause in PERMANENT or exchange.is_answered:
        return Repeatable.NO
    if cause is Cause.TLS_TIMEOUT:  # most likely a port without TLS, perhaps a busy one
        return Repeatable.ONCE
    if exchange.is_reused:
        return Repeatable.FRESH
    return Repeatable.NO if exchange.is_sent else Repeatable.YES


def _is_of_an_idle_connection(failure: UpstreamFailure, response: httpx.Response) -> bool:
    """Whether it is the 408 that some servers send before they close an idle connection: it crossed the request."""
    exchange: Exchange | None = response.extensions.get("exchange")
    is_timeout = response.status_code == httpx.codes.REQUEST_TIMEOUT
    return is_timeout and exchange is not None and exchange.is_reused and failure.retry_delay is None


class _Reply:
    """The body of a reply as it arrives; the time spent waiting for it goes into the trace."""

    def __init__(self, response: httpx.Response, trace: Trace, other_turns: Callable[[], Awaitable[None]]) -> None:
        self._stream: httpx.AsyncByteStream = response.stream  # type: ignore[assignment] # of an async transport
        self._chunks = aiter(self._stream)
        self._coding = response.headers.get("content-encoding", "")
        self._exchange: Exchange = response.extensions.get("exchange") or Exchange()
        self._decompressor: Decompressor | None = None
        self._trace = trace
        self._other_turns = other_turns
        self._size = 0

    async def chunk(self) -> bytes:
        """More of it; nothing at its end."""
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
            return await anext(self._chunks, b"")
        except httpx.TransportError as error:
            if self._exchange.fault:
                raise _unusable(self._exchange.fault) from error
            cause = diagnosis.cause_of(error)
            raise _failed(cause, words="the upstream closed the connection in the middle of its reply") from error
        finally:
            self._trace.waiting += time.perf_counter() - started

    async def _decompressed(self) -> bytes:
        """One step at a time, with other calls in between: a body may grow a thousand times."""
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
        """As much of it as an error is read for. The status counts also if the rest is cut off, late or broken."""
        head = b""
        with contextlib.suppress(UpstreamFailure, TimeoutError):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
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
        raise _unusable(str(error)) from None


def _unusable(fault: str) -> UpstreamFailure:
    return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, f"the upstream's reply cannot be used: {fault}")


def _failed(cause: Cause, repeatable: Repeatable = Repeatable.NO, words: str = "") -> GatewayError:
    """What went wrong on the way, without the texts of exceptions, which may hold addresses.

    `words` are said of what has no message of its own in this place: a connection that ended.
    """
    if cause in OWN:
        return ResourceFailure(cause)
    reason = Reason.UPSTREAM_MALFORMED_REPLY if cause is Cause.NOT_HTTP else Reason.UPSTREAM_UNAVAILABLE
    message = WORDS[cause] if cause is Cause.NOT_HTTP or not words else words
    return UpstreamFailure(reason, message, repeatable=repeatable, cause=cause)
