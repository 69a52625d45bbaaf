"""What is embedded, before it is written as JSON."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from embedwire_sandbox.models import Modality
from embedwire_sandbox.vectors import Vector


@dataclass(frozen=True, slots=True)
class Segment:
    """One vector; for sound also the stretch it stands for, in seconds from the beginning of the file."""

    vector: Vector
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    embedding_option: str | None = None


Segments = AsyncGenerator[Segment, None]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one modality.

    Attributes:
        modality: Which one.
        segments: Its segments, computed as they are asked for; raises `MediaError` where the content breaks off.
            `None` leaves the field out of the reply.
        metadata: `input_url` or `input_filename`; `None` for text, which has none.
        error_message: Why there are no segments.
    """

    modality: Modality
    segments: Segments | None
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A whole reply: the model's name, or `None` to leave it out, and the results in the order of the API."""

    model_name: str | None
    results: tuple[Result, ...]


async def segments_of(*segments: Segment) -> Segments:
    """Iterate over segments that are there already."""
    for segment in segments:
        yield segment
