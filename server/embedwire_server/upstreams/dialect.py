"""What differs between the APIs of upstreams. `http` does the rest for all of them."""

from typing import Protocol

import httpx

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.exchange import Request


class MalformedReplyError(ValueError):
    """A response is not what the API promises. The text says what, and holds nothing of its content."""


class ReplyParser(Protocol):
    """Reads the body of one successful response. The result never depends on how the bytes were split.

    Attributes:
        fault: why the response can never become a valid one; the segments before that place have been returned.
    """

    fault: MalformedReplyError | None

    def feed(self, data: bytes) -> list[Segment]:
        """Take more bytes and return the segments that they complete."""
        ...

    def finish(self) -> ReplySummary:
        """Declare the response complete and return what it says besides its segments.

        Raises:
            MalformedReplyError: it cannot be used.
            UpstreamFailure: it says that the input failed.
        """
        ...

    def whole(self, body: bytes) -> tuple[list[Segment], ReplySummary] | None:
        """Read a complete body at once, which takes less time; None if it is unusual and has to be fed.

        What it returns is what `feed` and `finish` return for the same bytes.
        """
        ...


class Dialect(Protocol):
    """The requests and responses of one API: pure functions, without I/O."""

    def encode(self, call: EmbedCall, size: int) -> Request:
        """Build the request for an input whose file, if it has one, has `size` bytes."""
        ...

    def parser(self, call: EmbedCall) -> ReplyParser:
        """Make the parser for the body of a successful response."""
        ...

    def error(self, call: EmbedCall, response: httpx.Response, body: bytes) -> UpstreamFailure:
        """Build the failure that a response means whose status is not a success.

        Args:
            call: the input.
            response: status and headers.
            body: what has been read of its body.
        """
        ...
