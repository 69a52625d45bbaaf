"""The results, in the shapes of the SDK's pages and of twelvelabs 1.x.

They are frozen and plain: dataclasses in place of pydantic models, with `dict()`, `json()`, `model_dump()` and
`model_dump_json()` as there. Offsets are seconds from the beginning of the file. A `float_` holds Python floats that
are exactly the float32 values of the embedding.
"""

import dataclasses
import json
from typing import Any

_WIRE_NAMES = {"float_": "float"}


class Shape:
    """What all results have in common. Two are equal if they are of one type and hold the same."""

    def model_dump(self) -> dict[str, Any]:
        """All fields by their Python names, those without a value as None."""
        return {name: _plain(value, "model_dump") for name, value in vars(self).items()}

    def dict(self) -> dict[str, Any]:
        """The fields that have a value, by the names of the HTTP API (`float`, not `float_`)."""
        return {
            _WIRE_NAMES.get(name, name): _plain(value, "dict")
            for name, value in vars(self).items()
            if value is not None
        }

    def model_dump_json(self) -> str:
        """What `model_dump` gives, as JSON."""
        return json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"))

    def json(self) -> str:
        """The same."""
        return self.model_dump_json()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # they hold lists


@dataclasses.dataclass(frozen=True, eq=False)
class BaseEmbeddingMetadata(Shape):
    """Where a media file came from.

    Attributes:
        input_url: its URL, if a URL was given.
        input_filename: its name, if a file was given.
    """

    input_url: str | None = dataclasses.field(default=None, repr=False)
    input_filename: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class BaseSegment(Shape):
    """One embedding.

    Attributes:
        float_: its numbers, as many as the model has dimensions.
    """

    float_: list[float] | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class AudioSegment(BaseSegment):
    """One embedding of a window of an audio file.

    It has a further attribute, `embedding_option`, if the upstream says what of the audio was embedded.

    Attributes:
        start_offset_sec: start of the window, in seconds from the beginning of the file.
        end_offset_sec: its end, if the upstream tells.
    """

    start_offset_sec: float | None = None
    end_offset_sec: float | None = None

    @classmethod
    def of(cls, float_: list[float], start: float | None, end: float | None, option: str) -> "AudioSegment":
        """Make one, with `embedding_option` only if there is one, as the SDK does."""
        segment = cls(float_, start, end)
        if option:
            object.__setattr__(segment, "embedding_option", option)
        return segment


@dataclasses.dataclass(frozen=True, eq=False)
class TextEmbeddingResult(Shape):
    """What became of the text.

    Attributes:
        error_message: why it could not be embedded.
        segments: its only segment; empty if it could not be embedded.
    """

    error_message: str | None = dataclasses.field(default=None, repr=False)
    segments: list[BaseSegment] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ImageEmbeddingResult(Shape):
    """What became of the image.

    Attributes:
        error_message: why it could not be embedded.
        segments: its only segment; empty if it could not be embedded.
        metadata: where it came from.
    """

    error_message: str | None = dataclasses.field(default=None, repr=False)
    segments: list[BaseSegment] | None = None
    metadata: BaseEmbeddingMetadata | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AudioEmbeddingResult(Shape):
    """What became of the audio.

    Attributes:
        segments: its segments in the upstream's order; empty if it could not be embedded.
        error_message: why it could not be embedded.
        metadata: where it came from.
    """

    segments: list[AudioSegment] | None = None
    error_message: str | None = dataclasses.field(default=None, repr=False)
    metadata: BaseEmbeddingMetadata | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingResponse(Shape):
    """What `create` returns.

    Attributes:
        model_name: the model, as the upstream names it.
        text_embedding: present if a text was given.
        image_embedding: present if an image was given.
        audio_embedding: present if audio was given.
    """

    model_name: str
    text_embedding: TextEmbeddingResult | None = None
    image_embedding: ImageEmbeddingResult | None = None
    audio_embedding: AudioEmbeddingResult | None = None


def _plain(value: Any, method: str) -> Any:  # noqa: ANN401 - any value of a field
    if isinstance(value, Shape):
        return getattr(value, method)()
    if isinstance(value, list):
        return [_plain(item, method) for item in value]
    return value
