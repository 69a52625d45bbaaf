"""The body of a reply, from its bytes to segments and completion."""

from embedwire_server.domain import Completion, Modality, Segment
from embedwire_server.upstream import wire
from embedwire_server.upstream.decoder import ReplyDecoder
from embedwire_server.upstream.wire import MalformedReplyError


class ReplyParser:
    """Takes the bytes of one reply and gives back its segments. How the bytes are split changes nothing.

    Args:
        modality: what was asked for.
        dimensions: how many numbers a vector must have.

    Attributes:
        fault: why the reply can never become a valid one; the segments before that place have been given back.
    """

    def __init__(self, modality: Modality, dimensions: int) -> None:
        self.fault: MalformedReplyError | None = None
        self._modality = modality
        self._dimensions = dimensions
        self._decoder = ReplyDecoder(wire.embedding_name(modality))

    def feed(self, data: bytes) -> list[Segment]:
        """Take more bytes and return the segments that they complete."""
        segments: list[Segment] = []
        if elements := self._decoder.feed(data):
            segments, self.fault = wire.segments(elements, self._dimensions, self._modality)
        self.fault = self.fault or self._decoder.fault
        return segments

    def finish(self) -> Completion | wire.Rejection:
        """Declare the reply complete and return what it says besides its segments.

        Raises:
            MalformedReplyError: the reply cannot be used.
        """
        if self.fault is not None:
            raise self.fault
        return wire.completion(self._decoder.end(), self._modality, self._decoder.elements)
