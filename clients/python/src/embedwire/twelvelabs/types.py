"""Response types with the attributes of the SDK's pages and of twelvelabs 1.x.

They are frozen dataclasses instead of pydantic models, with the methods `dict()`, `json()`, `model_dump()` and
`model_dump_json()`. Offsets are seconds from the beginning of the file. The Python floats in `float_` are exactly equal
to the float32 values of the embedding.
"""

import dataclasses
import json
from typing import Any

_WIRE_NAMES = {"float_": "float"}


class Shape:
    """Base class of the response types. Instances of one type with the same values are equal."""

    def model_dump(self) -> dict[str, Any]:
        """Return all fields by their Python names, including those that are None."""
        return {name: _plain(value, "model_dump") for name, value in vars(self).items()}

    def dict(self) -> dict[str, Any]:
        """Return the fields that are not None, by their names in the HTTP API (`float`, not `float_`)."""
        return {
            _WIRE_NAMES.get(name, name): _plain(value, "dict")
            for name, value in vars(self).items()
            if value is not None
        }

    def model_dump_json(self) -> str:
        """Return `model_dump` as JSON."""
        return json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"))

    def json(self) -> str:
        """Return `model_dump` as JSON."""
        return self.model_dump_json()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # they hold lists


@dataclasses.dataclass(frozen=True, eq=False)
class BaseEmbeddingMetadata(Shape):
    """Source of a media file.

    Attributes:
        input_url: the URL, if a URL was given.
        input_filename: the file name, if a file was given.
    """

    input_url: str | None = dataclasses.field(default=None, repr=False)
    input_filename: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class BaseSegment(Shape):
    """One embedding.

    Attributes:
        float_: values of the embedding; the model's dimensions are their number.
    """

    float_: list[float] | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class AudioSegment(BaseSegment):
    """One embedding of a window of an audio file.

    It has the attribute `embedding_option` only if the upstream reports it.

    Attributes:
        start_offset_sec: start of the window, in seconds from the beginning of the file.
        end_offset_sec: end of the window, in seconds; None if the upstream does not report it.
    """

    start_offset_sec: float | None = None
    end_offset_sec: float | None = None

    @classmethod
    def of(cls, float_: list[float], start: float | None, end: float | None, option: str) -> "AudioSegment":
        """Create a segment; like the SDK, set `embedding_option` only if it is not empty."""
        segment = cls(float_, start, end)
        if option:
            object.__setattr__(segment, "embedding_option", option)
        return segment


@dataclasses.dataclass(frozen=True, eq=False)
class TextEmbeddingResult(Shape):
    """Result of the text.

    Attributes:
        error_message: message of the failure; None means success.
        segments: one segment; empty if it failed.
    """

    error_message: str | None = dataclasses.field(default=None, repr=False)
    segments: list[BaseSegment] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ImageEmbeddingResult(Shape):
    """Result of the image.

    Attributes:
        error_message: message of the failure; None means success.
        segments: one segment; empty if it failed.
        metadata: source of the file.
    """

    error_message: str | None = dataclasses.field(default=None, repr=False)
    segments: list[BaseSegment] | None = None
    metadata: BaseEmbeddingMetadata | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AudioEmbeddingResult(Shape):
    """Result of the audio.

    Attributes:
        segments: the segments in the upstream's order; empty if it failed.
        error_message: message of the failure; None means success.
        metadata: source of the file.
    """

    segments: list[AudioSegment] | None = None
    error_message: str | None = dataclasses.field(default=None, repr=False)
    metadata: BaseEmbeddingMetadata | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingResponse(Shape):
    """Return value of `create`.

    Attributes:
        model_name: model name as reported by the upstream.
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
