"""Results of an embedding call, before they are written as JSON."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from embedwire_sandbox.media.vectors import Vector
from embedwire_sandbox.models import Modality


@dataclass(frozen=True, slots=True)
class Segment:
    """Vector; for audio also its section of the file, in seconds from the beginning."""

    vector: Vector
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    embedding_option: str | None = None


Segments = AsyncGenerator[Segment, None]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one modality.

    Attributes:
        modality: The modality.
        segments: Its segments, computed lazily; raises `MediaError` where the content is broken. `None` omits the
            field.
        metadata: `input_url` or `input_filename`; `None` for text, which has none.
        error_message: Reason why there are no segments.
    """

    modality: Modality
    segments: Segments | None
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Response: the model's name, or `None` to omit it, and the results in the order of the API."""

    model_name: str | None
    results: tuple[Result, ...]


async def segments_of(*segments: Segment) -> Segments:
    """Iterate over segments that are already computed."""
    for segment in segments:
        yield segment
