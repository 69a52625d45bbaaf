"""Dialect of the v2 endpoints: JSON requests, synchronous and as tasks. Facts: upstream API notes."""

import bisect
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import httpx

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http.client import ErrorOf
from embedwire_server.upstreams.http.exchange import Request
from embedwire_server.upstreams.http.json_body import JsonBody
from embedwire_server.upstreams.http.json_scanner import ReplyDecoder
from embedwire_server.upstreams.http.multipart import MultipartBody
from embedwire_server.upstreams.http.sanitize import sanitize_text
from embedwire_server.upstreams.twelvelabs import errors, segments, v2_body, v2_reply
from embedwire_server.upstreams.twelvelabs.errors import Subject
from embedwire_server.upstreams.twelvelabs.request_builder import RequestBuilder
from embedwire_server.upstreams.twelvelabs.v2_reply import TaskReply

ENDPOINT = "/embed-v2"
TASKS_ENDPOINT = "/embed-v2/tasks"
_EMBEDDINGS = (Subject.EMBED, Subject.TASK_CREATION)


class V2Dialect:
    """Requests and responses of the v2 endpoints.

    Args:
        base_url: the API's root with its version, without a trailing slash.
        key: the server's API key, if any, for calls without their own; it appears in no message or repr.
        user_agent: value of the User-Agent header.

    Attributes:
        base_url: as given.
        key: returns the credential of a call.
    """

    def __init__(self, base_url: str, key: str | None, user_agent: str) -> None:
        self._requests = RequestBuilder(base_url, key, user_agent)
        self.base_url = httpx.URL(base_url)
        self.key = self._requests.key

    def encode(self, call: EmbedCall, size: int) -> Request:
        """Build a synchronous request; see `Dialect`."""
        return self._requests.post(call, ENDPOINT, JsonBody(v2_body.sync(call, size)))

    def encode_task(self, call: EmbedCall, size: int) -> Request:
        """Build the request that creates a task for media; `size` as in `encode`."""
        request = self._requests.post(call, TASKS_ENDPOINT, JsonBody(v2_body.task(call, size)))
        request.is_creation = True
        return request

    def request(
        self,
        call: EmbedCall,
        method: bytes,
        path: str,
        endpoint: str,
        body: Mapping[str, Any] | MultipartBody | None = None,
    ) -> Request:
        """Build another request, for instance for the status of a task.

        Args:
            call: the input, for its credential.
            method: in capital letters.
            path: from the root of the API on, percent-encoded.
            endpoint: the path without identifiers, for metrics.
            body: a JSON object or a form; None sends no body.
        """
        encoded = body if body is None or isinstance(body, MultipartBody) else JsonBody(body)
        return self._requests.request(call, method, path, endpoint, encoded)

    def parser(self, call: EmbedCall) -> "V2ReplyParser":
        """Create a parser of a synchronous response; see `Dialect`."""
        return V2ReplyParser(call, self._requests.key(call))

    def task_parser(self, call: EmbedCall) -> "TaskReplyParser":
        """Create a parser of the status of a task."""
        return TaskReplyParser(call, self._requests.key(call))

    def error(
        self, call: EmbedCall, response: httpx.Response, body: bytes, subject: Subject = Subject.EMBED
    ) -> UpstreamFailure:
        """Build a failure; see `Dialect`. `subject` is what was requested."""
        return errors.from_response(
            response,
            body,
            self._requests.key(call),
            is_callers_key=call.credential is not None,
            subject=subject,
            has_asset=subject in _EMBEDDINGS and v2_body.has_asset(call),
        )

    def error_of(self, subject: Subject) -> ErrorOf:
        """Return `error` for what was requested."""
        return functools.partial(self.error, subject=subject)

    def task_failure(self, call: EmbedCall, reply: TaskReply) -> UpstreamFailure:
        """Build the failure for a task with the status failed."""
        return errors.from_task_failure(reply.error_message, self._requests.key(call))


class _Elements:
    """Incremental parser of the segments of one response; what is besides them is left to its user."""

    def __init__(self, layout: segments.Layout, dimensions: int) -> None:
        self.fault: MalformedReplyError | None = None
        self._layout = layout
        self._dimensions = dimensions
        self._decoder = ReplyDecoder(v2_reply.SEGMENTS)

    def feed(self, data: bytes) -> list[Segment]:
        """Parse more bytes and return the segments that they complete."""
        found: list[Segment] = []
        if elements := self._decoder.feed(data):
            found, self.fault = segments.parse(elements, self._dimensions, self._layout)
        self.fault = self.fault or self._decoder.fault
        return found

    def end(self) -> tuple[Any, int]:
        """Finish the response; return what is besides the segments, and how many there were.

        Raises:
            MalformedReplyError: it is malformed or incomplete.
        """
        if self.fault is not None:
            raise self.fault
        return self._decoder.end(), self._decoder.elements


class V2ReplyParser:
    """Incremental parser for one synchronous response; see `ReplyParser`.

    Args:
        call: the input.
        key: the credential that was sent, to be removed from the upstream's text.
    """

    def __init__(self, call: EmbedCall, key: str | None = None) -> None:
        self._call = call
        self._key = key
        self._elements: _Elements | None = None  # until bytes are fed

    @property
    def fault(self) -> MalformedReplyError | None:
        """Why the response is malformed; see `ReplyParser`."""
        return None if self._elements is None else self._elements.fault

    def feed(self, data: bytes) -> list[Segment]:
        """Parse more bytes and return the segments that they complete."""
        return self._parser().feed(data)

    def finish(self) -> ReplySummary:
        """Finish the response; see `ReplyParser`."""
        envelope, count = self._parser().end()
        return errors.sanitize_summary(v2_reply.summary(envelope, self._call, count), self._key)

    def whole(self, body: bytes) -> tuple[list[Segment], ReplySummary] | None:
        """Parse a complete body in one step; see `ReplyParser`."""
        found = v2_reply.whole(body, self._call)
        if found is None:
            return None
        segment, summary = found
        return [segment], errors.sanitize_summary(summary, self._key)

    def _parser(self) -> _Elements:
        if self._elements is None:
            layout = v2_reply.layout(self._call, is_task=False)
            self._elements = _Elements(layout, self._call.model.dimensions)
        return self._elements


class TaskReplyParser:
    """Incremental parser for the status of a task, which includes its result once it is ready.

    The result does not depend on how the bytes were split.

    Args:
        call: the input.
        key: the credential that was sent, to be removed from the upstream's text.
    """

    def __init__(self, call: EmbedCall, key: str | None = None) -> None:
        self._call = call
        self._key = key
        self._elements = _Elements(v2_reply.layout(call, is_task=True), call.model.dimensions)
        self._found: list[Segment] = []

    @property
    def fault(self) -> MalformedReplyError | None:
        """Why the response is malformed, as soon as that is known."""
        return self._elements.fault

    def feed(self, data: bytes) -> None:
        """Parse more bytes. The segments are kept, packed: about a third of the size of their JSON.

        They are put in order as they arrive: sorting thousands of them at the end would delay other calls.
        """
        for segment in self._elements.feed(data):
            bisect.insort(self._found, segment, key=v2_reply.order)

    def finish(self) -> TaskReply:
        """Finish the response.

        Raises:
            MalformedReplyError: it is malformed or incomplete, or a task is ready without segments.
        """
        envelope, _ = self._elements.end()
        reply = v2_reply.task_reply(envelope, self._call, self._found)
        return dataclasses.replace(
            reply,
            summary=errors.sanitize_summary(reply.summary, self._key),
            error_message=sanitize_text(reply.error_message, self._key),
        )
