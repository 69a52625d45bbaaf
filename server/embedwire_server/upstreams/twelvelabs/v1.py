"""Dialect of the v1 endpoint: `POST {base_url}{endpoint}`, multipart. Facts: upstream API notes, section 2."""

import httpx

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http.exchange import Request
from embedwire_server.upstreams.http.json_scanner import ReplyDecoder
from embedwire_server.upstreams.http.multipart import MultipartBody
from embedwire_server.upstreams.twelvelabs import errors, segments, v1_form, v1_reply
from embedwire_server.upstreams.twelvelabs.request_builder import RequestBuilder


class V1Dialect:
    """Requests and responses of the v1 endpoint.

    Args:
        base_url: the API's root with its version, without a trailing slash.
        key: the server's API key, if any, for calls without their own; it appears in no message or repr.
        user_agent: value of the User-Agent header.
    """

    def __init__(self, base_url: str, key: str | None, user_agent: str) -> None:
        self._requests = RequestBuilder(base_url, key, user_agent)

    def encode(self, call: EmbedCall, size: int) -> Request:
        """Build the request; see `Dialect`."""
        body = MultipartBody(v1_form.parts(call.input, call.model, size))
        return self._requests.post(call, call.model.endpoint, body)

    def parser(self, call: EmbedCall) -> "V1ReplyParser":
        """Create a parser; see `Dialect`."""
        return V1ReplyParser(call.modality, call.model.dimensions, self._requests.key(call))

    def error(self, call: EmbedCall, response: httpx.Response, body: bytes) -> UpstreamFailure:
        """Build a failure; see `Dialect`."""
        return errors.from_response(
            response,
            body,
            self._requests.key(call),
            is_callers_key=call.credential is not None,
            subject=errors.Subject.EMBED_V1,
        )


class V1ReplyParser:
    """Incremental parser for one response; see `ReplyParser`.

    Args:
        modality: modality of the input.
        dimensions: required length of a vector.
        key: the credential that was sent, to be removed from the upstream's text.
    """

    def __init__(self, modality: Modality, dimensions: int, key: str | None = None) -> None:
        self.fault: MalformedReplyError | None = None
        self._modality = modality
        self._dimensions = dimensions
        self._key = key
        self._decoder: ReplyDecoder | None = None  # until bytes are fed

    def feed(self, data: bytes) -> list[Segment]:
        """Parse more bytes and return the segments that they complete."""
        decoder = self._scanner()
        found: list[Segment] = []
        if elements := decoder.feed(data):
            found, self.fault = segments.parse(elements, self._dimensions, v1_reply.LAYOUTS[self._modality])
        self.fault = self.fault or decoder.fault
        return found

    def finish(self) -> ReplySummary:
        """Finish the response; see `ReplyParser`."""
        if self.fault is not None:
            raise self.fault
        decoder = self._scanner()
        summary = v1_reply.summary(decoder.end(), self._modality, decoder.elements)
        if isinstance(summary, v1_reply.Rejection):
            raise errors.from_error_message(summary.message, self._key)
        return errors.sanitize_summary(summary, self._key)

    def whole(self, body: bytes) -> tuple[list[Segment], ReplySummary] | None:
        """Parse a complete body in one step; see `ReplyParser`."""
        found = v1_reply.whole(body, self._modality, self._dimensions)
        if found is None:
            return None
        segment, summary = found
        return [segment], errors.sanitize_summary(summary, self._key)

    def _scanner(self) -> ReplyDecoder:
        if self._decoder is None:
            self._decoder = ReplyDecoder(v1_reply.embedding_name(self._modality), "segments")
        return self._decoder
