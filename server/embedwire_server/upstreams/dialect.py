"""Interfaces of an API dialect: requests, responses and errors. `http` does the rest for every API."""

from typing import Protocol

import httpx

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.exchange import Request


class MalformedReplyError(ValueError):
    """A response that violates the API's contract. The text names the fault and quotes nothing of the response."""


class ReplyParser(Protocol):
    """Incremental parser for one successful response. The result does not depend on how the bytes were split."""

    @property
    def fault(self) -> MalformedReplyError | None:
        """Why the response is malformed, or None; the segments before the fault have been returned."""
        ...

    def feed(self, data: bytes) -> list[Segment]:
        """Parse more bytes and return the segments that they complete."""
        ...

    def finish(self) -> ReplySummary:
        """Finish the response and return its data besides the segments.

        Raises:
            MalformedReplyError: it is malformed or incomplete.
            UpstreamFailure: it reports that the input failed.
        """
        ...

    def whole(self, body: bytes) -> tuple[list[Segment], ReplySummary] | None:
        """Parse a complete body in one step, which is faster; None if its form is unusual and it has to be fed.

        The result equals that of `feed` and `finish` for the same bytes.
        """
        ...


class Dialect(Protocol):
    """Requests and responses of one API: pure functions, without I/O."""

    def encode(self, call: EmbedCall, size: int) -> Request:
        """Build the request for an input whose file, if it has one, has `size` bytes."""
        ...

    def parser(self, call: EmbedCall) -> ReplyParser:
        """Create the parser for the body of a successful response."""
        ...

    def error(self, call: EmbedCall, response: httpx.Response, body: bytes) -> UpstreamFailure:
        """Build the failure for an error response.

        Args:
            call: the input.
            response: status and headers.
            body: the part of its body that was read.
        """
        ...
