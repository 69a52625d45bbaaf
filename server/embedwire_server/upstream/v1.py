"""The dialect of the v1 endpoint: `POST {base_url}{endpoint}`, multipart. Facts: upstream API notes, section 2."""

import httpx

from embedwire_server.domain import Modality, ReplySummary, Segment
from embedwire_server.errors import UpstreamFailure
from embedwire_server.upstream import EmbedCall, refusal, wire
from embedwire_server.upstream.decoder import ReplyDecoder
from embedwire_server.upstream.dialect import MalformedReplyError
from embedwire_server.upstream.multipart import MultipartBody


class V1Dialect:
    """Requests and responses of the v1 endpoint.

    Args:
        base_url: the API's root with its version, without a trailing slash.
        key: the server's API key, if any, for calls that bring none; kept out of every message and repr.
        user_agent: how requests name their sender.
    """

    def __init__(self, base_url: str, key: str | None, user_agent: str) -> None:
        self._base_url = base_url
        self._urls: dict[str, httpx.URL] = {}  # by endpoint: to parse one costs as much as to decode a short response
        self._key = key
        # No compression: it would delay the first segment, and a small response could grow without bound.
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": user_agent}
        self._headers = httpx.Headers(headers).raw

    def encode(self, call: EmbedCall, size: int) -> httpx.Request:
        """Build the request; see `Dialect`."""
        body = MultipartBody(wire.parts(call.input, call.model, size))
        headers = [
            *self._headers,
            (b"content-type", body.content_type.encode()),
            (b"content-length", str(body.length).encode()),
        ]
        if key := call.key or self._key:
            headers.append((b"x-api-key", key.encode()))
        stream = body if body.inline is None else httpx.ByteStream(body.inline)
        return httpx.Request("POST", self._url(call.model.endpoint), headers=headers, stream=stream)

    def parser(self, call: EmbedCall) -> "V1ReplyParser":
        """Make a parser; see `Dialect`."""
        return V1ReplyParser(call.modality, call.model.dimensions, call.key or self._key)

    def error(self, call: EmbedCall, response: httpx.Response, body: bytes) -> UpstreamFailure:
        """Build a failure; see `Dialect`."""
        return refusal.refused(response, body, call.key or self._key, is_callers_key=call.key is not None)

    def _url(self, endpoint: str) -> httpx.URL:
        if endpoint not in self._urls:
            self._urls[endpoint] = httpx.URL(self._base_url + endpoint)
        return self._urls[endpoint]


class V1ReplyParser:
    """Reads the body of one response; see `ReplyParser`.

    Args:
        modality: what was asked for.
        dimensions: how many numbers a vector must have.
        key: the credential that was sent, to be taken out of whatever the upstream says.
    """

    def __init__(self, modality: Modality, dimensions: int, key: str | None = None) -> None:
        self.fault: MalformedReplyError | None = None
        self._modality = modality
        self._dimensions = dimensions
        self._key = key
        self._decoder: ReplyDecoder | None = None  # until bytes are fed

    def feed(self, data: bytes) -> list[Segment]:
        """Take more bytes and return the segments that they complete."""
        decoder = self._scanner()
        segments: list[Segment] = []
        if elements := decoder.feed(data):
            segments, self.fault = wire.segments(elements, self._dimensions, self._modality)
        self.fault = self.fault or decoder.fault
        return segments

    def finish(self) -> ReplySummary:
        """Declare the response complete; see `ReplyParser`."""
        if self.fault is not None:
            raise self.fault
        decoder = self._scanner()
        summary = wire.summary(decoder.end(), self._modality, decoder.elements)
        if isinstance(summary, wire.Rejection):
            raise refusal.rejected(summary.message, self._key)
        return refusal.cleaned(summary, self._key)

    def whole(self, body: bytes) -> tuple[list[Segment], ReplySummary] | None:
        """Read a complete body at once; see `ReplyParser`."""
        found = wire.whole(body, self._modality, self._dimensions)
        if found is None:
            return None
        segment, summary = found
        return [segment], refusal.cleaned(summary, self._key)

    def _scanner(self) -> ReplyDecoder:
        if self._decoder is None:
            self._decoder = ReplyDecoder(wire.embedding_name(self._modality))
        return self._decoder
