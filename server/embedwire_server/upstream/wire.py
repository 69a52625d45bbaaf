"""The shapes of the v1 endpoint: what is sent for an input, and what the parts of a reply mean.

Pure functions. Facts: upstream API notes, sections 2, 2.1 and 8.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import simdjson

from embedwire_server.domain import (
    AudioInput,
    Completion,
    FileSource,
    Input,
    Modality,
    Model,
    Segment,
    TextInput,
    UrlSource,
)
from embedwire_server.upstream.multipart import Field, File, Part

MAX_OPTION_CHARS = 64
_ABOUT_AUDIO = ("start_offset_sec", "end_offset_sec", "embedding_option")
_FLOAT32 = np.dtype("<f4")
# No vector of numbers that float32 cannot hold, from 3.4e38 on, has so short a square, which is told in half the time.
_SURELY_FLOAT32 = 1e76
_NUMBERS = (int, float)


class MalformedReplyError(ValueError):
    """A reply is not what the API promises. The text says what, and holds nothing of its content."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """The reply is HTTP 200, and its `error_message` says that this input failed."""

    message: str = dataclasses.field(repr=False)


def parts(item: Input, model: Model, file_size: int) -> list[Part]:
    """The form parts for one input, in the order in which the official SDK sends them.

    Args:
        item: the input.
        model: the model that it is for.
        file_size: bytes of its file; ignored where it has none.
    """
    form: list[Part] = [Field("model_name", model.name)]
    if isinstance(item, TextInput):
        form.append(Field("text", item.value))
        if item.truncate is not None and model.text is not None and model.text.sends_truncate:
            form.append(Field("text_truncate", item.truncate))
        return form
    if isinstance(item.source, UrlSource):
        form.append(Field(f"{item.modality}_url", item.source.url))
    if isinstance(item, AudioInput) and item.start_offset_sec is not None:
        form.append(Field("audio_start_offset_sec", repr(item.start_offset_sec)))
    if isinstance(item.source, FileSource):
        source = item.source
        form.append(File(f"{item.modality}_file", source.file_name, source.media_type, file_size, source.content))
    return form


def embedding_name(modality: Modality) -> str:
    """The member of the reply that answers an input of this modality."""
    return f"{modality}_embedding"


def segments(elements: Sequence[bytes], dimensions: int, modality: Modality) -> list[Segment]:
    """Read elements of `segments`.

    Raises:
        MalformedReplyError: no JSON, no vector, other dimensions, a number that is not finite.
    """
    if not elements:
        return []
    with np.errstate(over="ignore"):  # once for all: it takes longer than to round a vector
        return [_segment(element, dimensions, modality) for element in elements]


def _segment(element: bytes, dimensions: int, modality: Modality) -> Segment:
    try:
        # A parser of its own: one that is reused refuses to parse while anything of its last
        # document is alive, and a traceback keeps things alive.
        fields: Any = simdjson.Parser().parse(element)
        numbers: Any = fields["float"]
        values = np.frombuffer(numbers.as_buffer(of_type="d"))
        # as_buffer flattens nested lists; a look at the values is dear, so only where there could be one
        has_one_list = element.find(b"[") == element.rfind(b"[")
        is_flat = has_one_list or not any(isinstance(number, list) for number in numbers.as_list())
        about = [fields.get(name) for name in _ABOUT_AUDIO] if modality is Modality.AUDIO else None
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        raise MalformedReplyError("a segment is not what the API describes") from None
    if not is_flat or len(values) != dimensions:
        raise MalformedReplyError(f"a vector does not have {dimensions} dimensions")
    vector = values.astype(_FLOAT32)
    if not (values.dot(values) < _SURELY_FLOAT32 or np.isfinite(vector).all()):
        raise MalformedReplyError("a vector holds a number that float32 cannot")
    if about is None:
        return Segment(vector.tobytes())
    start, end, option = about
    if start is None:
        raise MalformedReplyError("an audio segment does not say where it starts")
    return Segment(vector.tobytes(), _seconds(start), _seconds(end), _option(option))


def completion(envelope: Any, modality: Modality, elements: int) -> Completion | Rejection:  # noqa: ANN401 - any JSON value
    """Read what a reply says besides its segments.

    Args:
        envelope: the reply with a {} for each segment that was cut out.
        modality: what was asked for.
        elements: how many segments were cut out.

    Returns:
        What the upstream says of the input, or that it failed.

    Raises:
        MalformedReplyError: no `model_name`, or no segments and no word of why.
    """
    if not isinstance(envelope, dict) or not _text(envelope.get("model_name")):
        raise MalformedReplyError("it has no model_name")
    embedding = envelope.get(embedding_name(modality))
    embedding = embedding if isinstance(embedding, dict) else {}
    if error := embedding.get("error_message"):
        return Rejection(error if isinstance(error, str) else "")
    if embedding.get("segments") != [{}] * elements or not elements:
        raise MalformedReplyError("it has no segments")
    if modality is not Modality.AUDIO and elements != 1:
        raise MalformedReplyError(f"it has {elements} segments for one {modality}")
    metadata = embedding.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return Completion(
        envelope["model_name"],
        input_url=_text(metadata.get("input_url")),
        input_filename=_text(metadata.get("input_filename")),
    )


def _seconds(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    if value is None:
        return None
    if type(value) not in _NUMBERS or not math.isfinite(value):  # a bool is an int by isinstance
        raise MalformedReplyError("an offset is not a number of seconds")
    return float(value)


def _option(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_OPTION_CHARS or not value.isprintable():
        raise MalformedReplyError("an embedding option is not a word")
    return value


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else None
