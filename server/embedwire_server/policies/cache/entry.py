"""A cached result, without anything that belongs to the caller that it was computed for."""

from typing import NamedTuple

from embedwire_server.core.inputs import FileSource, Input, TextInput, UrlSource
from embedwire_server.core.results import ReplySummary, Segment


class CachedSegment(NamedTuple):
    """The fields of `Segment`, immutable."""

    vector: bytes
    start_offset_sec: float | None
    end_offset_sec: float | None
    embedding_option: str
    embedding_scope: str
    uncertainty: bytes | None

    @classmethod
    def of(cls, segment: Segment) -> "CachedSegment":
        """Copy a segment."""
        return cls(
            segment.vector,
            segment.start_offset_sec,
            segment.end_offset_sec,
            segment.embedding_option,
            segment.embedding_scope,
            segment.uncertainty,
        )


class Entry(NamedTuple):
    """A cached result. Immutable, so that no reader can change it for the others.

    Attributes:
        segments: all segments, in order; at least one.
        upstream: name of the upstream that computed it.
        model_name: name of the model as reported by the upstream.
        has_origin: whether the upstream reported a URL or a file name; it is not stored.
        truncated: as in `ReplySummary`. The next one as well.
        media_duration_sec: see there.
        input_tokens: pairs of the mapping in `ReplySummary`; None without one.
    """

    segments: tuple[CachedSegment, ...]
    upstream: str
    model_name: str
    has_origin: bool = False
    truncated: bool | None = None
    media_duration_sec: float | None = None
    input_tokens: tuple[tuple[str, int], ...] | None = None

    @classmethod
    def of(cls, segments: list[CachedSegment], upstream: str, summary: ReplySummary) -> "Entry":
        """Build an entry from a complete result."""
        return cls(
            tuple(segments),
            upstream,
            summary.model_name,
            summary.input_url is not None or summary.input_filename is not None,
            summary.truncated,
            summary.media_duration_sec,
            None if summary.input_tokens is None else tuple(summary.input_tokens.items()),
        )

    @property
    def vector_bytes(self) -> int:
        """Size of all vectors and uncertainties."""
        return sum(len(segment.vector) + len(segment.uncertainty or b"") for segment in self.segments)

    def copies(self) -> list[Segment]:
        """Return the segments for one caller."""
        return [Segment(*segment) for segment in self.segments]

    def summary(self, item: Input) -> ReplySummary:
        """Return the summary for an input, with its own URL or file name."""
        url = file_name = None
        if self.has_origin and not isinstance(item, TextInput):
            source = item.source
            url = source.url if isinstance(source, UrlSource) else None
            file_name = source.file_name if isinstance(source, FileSource) else None
        tokens = None if self.input_tokens is None else dict(self.input_tokens)
        return ReplySummary(self.model_name, url, file_name, self.truncated, self.media_duration_sec, tokens)
