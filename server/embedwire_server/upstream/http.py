"""One upstream call over HTTP: the innermost `Upstream`, one attempt for one input.

The transport is called directly (an httpx client on top would only add cost), and it must not be
httpx's own, which loses connections for ever when calls are cancelled: see docs/decisions.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

import aiohttp
import httpx

from embedwire_server.domain import Completion, Segment, content_of
from embedwire_server.errors import Reason, Repeatable, UpstreamFailure
from embedwire_server.trace import Trace
from embedwire_server.upstream import UpstreamCall, connection, hints, refusal, wire
from embedwire_server.upstream.decoder import ReplyDecoder
from embedwire_server.upstream.multipart import MultipartBody

CONNECT_SECONDS = 10.0
MAX_REPLY_BYTES = 256 << 20
PIECE_BYTES = 64 << 10
# Only the sandbox sends it; whoever answers with it is one, wherever it runs.
_SANDBOX_HEADER = "embedwire-upstream"
_NETWORK = (
    httpx.TransportError,
    httpx.DecodingError,
    aiohttp.ClientError,
)  # the transport lets a few of the last through


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
        self._headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": user_agent}

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Segment | Completion]:
        """Make one attempt; see `Upstream`."""
        trace = call.trace
        body = await _body(call)
        request = self._request(call, body)
        trace.attempts += 1
        trace.upstream, trace.hold = self._name, 0.0
        exchange = connection.Exchange()
        connection.current.set(exchange)
        try:
            with trace.time("waiting"):
                response = await self._transport.handle_async_request(request)
        except _NETWORK as error:
            failure = _named(error)
            failure.repeatable = _repeatable(exchange, body)
            raise failure from error
        except asyncio.CancelledError:
            if not exchange.is_begun or (body.inline is not None and exchange.unsent):
                trace.attempts -= 1  # given up before the upstream could know of it
            raise
        try:
            if response.headers.get(_SANDBOX_HEADER) == "sandbox":
                trace.upstream = "sandbox"
            trace.hold = hints.used_up(response.headers)
            async with contextlib.aclosing(self._read(call, response)) as items:
                async for item in items:
                    yield item
        finally:
            await response.aclose()

    def _request(self, call: UpstreamCall, body: MultipartBody) -> httpx.Request:
        credential = {"x-api-key": key} if (key := call.key or self._key) else {}
        about_body = {"content-type": body.content_type, "content-length": str(body.length)}
        return httpx.Request(
            "POST",
            self._url(call.model.endpoint),
            headers={**self._headers, **credential, **about_body},
            content=body.chunks() if body.inline is None else body.inline,
            extensions={"timeout": {"connect": CONNECT_SECONDS}},
        )

    def _url(self, endpoint: str) -> httpx.URL:
        if endpoint not in self._urls:
            self._urls[endpoint] = httpx.URL(self._base_url + endpoint)
        return self._urls[endpoint]

    async def _read(self, call: UpstreamCall, response: httpx.Response) -> AsyncGenerator[Segment | Completion]:
        key = call.key or self._key
        async with contextlib.aclosing(_chunks(response, call.trace)) as chunks:
            if response.status_code != httpx.codes.OK:
                raise refusal.refused(response, await _head(chunks), key, is_callers_key=call.key is not None)
            modality, dimensions = call.input.modality, call.model.dimensions
            decoder = ReplyDecoder(wire.embedding_name(modality))
            with _malformed_replies():
                async for chunk in chunks:
                    with call.trace.time("decode"):
                        segments = [wire.segment(element, dimensions, modality) for element in decoder.feed(chunk)]
                    for segment in segments:
                        yield segment
                completion = wire.completion(decoder.end(), modality, decoder.elements)
            if isinstance(completion, wire.Rejection):
                raise refusal.rejected(completion.message, key)
            yield refusal.cleaned(completion, key)


async def _body(call: UpstreamCall) -> MultipartBody:
    content = content_of(call.input)
    size = await content.ready() if content is not None else 0
    return MultipartBody(wire.parts(call.input, call.model, size))


def _repeatable(exchange: connection.Exchange, body: MultipartBody) -> Repeatable:
    """Whether a request without an answer may be sent again: the closed list of the design, section 3."""
    if not exchange.is_connected or (not body.is_sent and not exchange.is_answered):
        return Repeatable.YES
    return Repeatable.ONCE if exchange.is_reused and not exchange.is_answered else Repeatable.NO


async def _chunks(response: httpx.Response, trace: Trace) -> AsyncGenerator[bytes]:
    """The body as it arrives; the time spent waiting for it goes into the trace."""
    size = 0
    chunks = response.aiter_bytes() if "content-encoding" in response.headers else aiter(response.stream)  # type: ignore[arg-type] # it is an async one
    while True:
        try:
            with trace.time("waiting"):
                chunk = await anext(chunks, None)
        except _NETWORK as error:
            raise _named(error) from error
        if chunk is None:
            return
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, "the upstream's reply is too large")
        for start in range(0, len(chunk), PIECE_BYTES):  # a compressed one may grow a thousand times
            yield chunk[start : start + PIECE_BYTES]


async def _head(chunks: AsyncGenerator[bytes]) -> bytes:
    """As much of the body as an error is read for."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) > refusal.MAX_BODY_BYTES:
            break
    return head[: refusal.MAX_BODY_BYTES]


@contextlib.contextmanager
def _malformed_replies() -> Iterator[None]:
    try:
        yield
    except wire.MalformedReplyError as error:
        message = f"the upstream's reply cannot be used: {error}"
        raise UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, message) from None


def _named(error: Exception) -> UpstreamFailure:
    """What went wrong on the way, without the texts of exceptions, which may hold addresses."""
    if isinstance(error, (httpx.ReadError, httpx.WriteError)):
        message = "the upstream closed the connection in the middle of its reply"
        return UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, message)
    if isinstance(error, httpx.DecodingError):
        message = "the upstream's reply cannot be used: it cannot be decompressed"
        return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, message)
    if isinstance(error, httpx.TransportError):
        message = "the upstream could not be reached, or closed the connection without an answer"
        return UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, message)
    message = "the upstream's reply cannot be used: it is not HTTP"
    return UpstreamFailure(Reason.UPSTREAM_MALFORMED_REPLY, message)
