"""Conversion of results to the response types of the SDK."""

import dataclasses
from collections.abc import Mapping

from embedwire import files
from embedwire.errors import EmbedwireError
from embedwire.inputs import Input, Media
from embedwire.results import Result, Segment
from embedwire.twelvelabs.errors import error_message
from embedwire.twelvelabs.types import (
    AudioEmbeddingResult,
    AudioSegment,
    BaseEmbeddingMetadata,
    BaseSegment,
    EmbeddingResponse,
    ImageEmbeddingResult,
    TextEmbeddingResult,
)

# Default file name of the server and of the SDK.
_UNNAMED = "upload"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one input: a result and segments, or an error."""

    sent: Input | None
    segments: tuple[Segment, ...]
    result: Result | None
    error: EmbedwireError | None


def response(outcomes: Mapping[str, Outcome]) -> EmbeddingResponse:
    """Build the response from the outcomes by modality; at least one must have a result."""
    text, image, audio = (outcomes.get(name) for name in ("text", "image", "audio"))
    return EmbeddingResponse(
        next(outcome.result.model_name for outcome in outcomes.values() if outcome.result is not None),
        TextEmbeddingResult(_error_message(text), _base_segments(text)) if text else None,
        ImageEmbeddingResult(_error_message(image), _base_segments(image), _metadata(image)) if image else None,
        AudioEmbeddingResult(_audio_segments(audio), _error_message(audio), _metadata(audio)) if audio else None,
    )


def _error_message(outcome: Outcome) -> str | None:
    return None if outcome.error is None else error_message(outcome.error.failure)


def _base_segments(outcome: Outcome) -> list[BaseSegment]:
    return [BaseSegment(segment.vector.tolist()) for segment in outcome.segments if outcome.result is not None]


def _audio_segments(outcome: Outcome) -> list[AudioSegment]:
    return [
        AudioSegment.of(
            segment.vector.tolist(), segment.start_offset_sec, segment.end_offset_sec, segment.embedding_option
        )
        for segment in outcome.segments
        if outcome.result is not None
    ]


def _metadata(outcome: Outcome) -> BaseEmbeddingMetadata | None:
    """Return the metadata of the upstream, or for a failed input, which has none, that of the request."""
    if outcome.result is not None:
        return BaseEmbeddingMetadata(outcome.result.input_url, outcome.result.input_filename)
    if not isinstance(outcome.sent, Media):
        return None
    if outcome.sent.url is not None:
        return BaseEmbeddingMetadata(input_url=outcome.sent.url)
    return BaseEmbeddingMetadata(input_filename=files.name(outcome.sent) or _UNNAMED)
