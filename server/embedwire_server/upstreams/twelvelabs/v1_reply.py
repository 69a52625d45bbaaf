"""Parses responses of the v1 endpoint: segments and summary.

Pure functions. Facts: upstream API notes, sections 2, 2.1 and 8.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import simdjson

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http import json_fallback

MAX_OPTION_CHARS = 64
_VECTOR = ("float",)
_MEMBERS = {  # members of a segment that are read
    Modality.TEXT: _VECTOR,
    Modality.IMAGE: _VECTOR,
    Modality.AUDIO: (*_VECTOR, "start_offset_sec", "end_offset_sec", "embedding_option"),
}
_TEXT_EMBEDDING = "text_embedding"
_USUAL_MEMBERS = (2, 1, 1)  # number of members of the document, the embedding and the segment
_FLOAT32 = np.dtype("<f4")
# A squared norm below this has no number that float32 cannot hold (from 3.4e38 on), and is faster to check.
_SURELY_FLOAT32 = 1e76
_NUMBERS = (int, float)
_UNDECODABLE = re.compile("[\udc80-\udcff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """Response with status 200 whose `error_message` says that the input failed."""

    message: Any = dataclasses.field(repr=False)  # a string, unless the upstream sends something else


def embedding_name(modality: Modality) -> str:
    """Return the name of the member with the embedding for this modality."""
    return f"{modality}_embedding"


def whole(body: bytes, modality: Modality, dimensions: int) -> tuple[Segment, ReplySummary] | None:
    """Parse the complete response for a text, in its usual form, without a scanner.

    Returns:
        None for any other body (other members, nested lists, escapes, no UTF-8, faults): it needs the scanner.
    """
    if modality is not Modality.TEXT or not _has_usual_brackets(body) or b"\\" in body:
        return None
    try:
        document: Any = simdjson.Parser().parse(body)
        embedding = document[_TEXT_EMBEDDING]
        name, (element,) = document["model_name"], embedding["segments"]
        values = np.frombuffer(element["float"].as_buffer(of_type="d"))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return None
    members = len(document), len(embedding), len(element)
    if members != _USUAL_MEMBERS or not name or not isinstance(name, str) or len(values) != dimensions:
        return None
    if not values.dot(values) < _SURELY_FLOAT32:
        return None
    return Segment(values.astype(_FLOAT32).tobytes()), ReplySummary(name)


def _has_usual_brackets(body: bytes) -> bool:
    """Whether there are two lists and three objects: then nothing is nested deeper than in the usual form.

    Uses `find`, which is many times faster than `count`.
    """
    outer = body.find(b"[")
    inner = body.find(b"[", outer + 1)
    if outer < 0 or inner != body.rfind(b"["):
        return False
    first = body.find(b"{")
    second = body.find(b"{", first + 1)
    return body.find(b"{", second + 1) == body.rfind(b"{") > second > first


def segments(
    elements: Sequence[bytes], dimensions: int, modality: Modality
) -> tuple[list[Segment], MalformedReplyError | None]:
    """Parse elements of `segments`, up to the first that is malformed.

    Returns:
        The segments, and the fault of the element after the last of them.
    """
    read: list[Segment] = []
    with np.errstate(over="ignore"):  # once for all elements: it takes longer than rounding a vector
        try:
            for element in elements:
                read.append(_segment(element, dimensions, modality))  # noqa: PERF401 - those before a fault count
        except MalformedReplyError as fault:
            return read, fault
    return read, None


def _segment(element: bytes, dimensions: int, modality: Modality) -> Segment:
    try:
        values, *about = _members(element, _MEMBERS[modality])
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        values, *about = _members_by_reference(element, _MEMBERS[modality])
    if len(values) != dimensions:
        raise MalformedReplyError(f"a vector does not have {dimensions} dimensions")
    vector = values.astype(_FLOAT32)
    if not (values.dot(values) < _SURELY_FLOAT32 or np.isfinite(vector).all()):
        raise MalformedReplyError("a vector has a number outside the range of float32")
    if not about:
        return Segment(vector.tobytes())
    start, end, option = about
    if start is None:
        raise MalformedReplyError("an audio segment has no start_offset_sec")
    return Segment(vector.tobytes(), _seconds(start), _seconds(end), _option(option))


def _members(element: bytes, names: tuple[str, ...]) -> list[Any]:
    """Return these members of a segment, the first of them as an array; None for a missing one.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RuntimeError: simdjson rejects the element, it is no segment,
            or a member is repeated: simdjson would take the first, and every other parser takes the last.
    """
    # Not a shared parser: it does not parse again while anything refers to its last document, as a traceback may.
    fields: Any = simdjson.Parser().parse(element)
    try:
        members = list(map(fields.__getitem__, names)) if len(fields) == len(names) else None
    except KeyError:
        members = None
    if members is None:  # else no member is repeated
        given = list(fields)
        if len(set(given)) < len(given):
            raise ValueError("a member is given twice")
        members = [fields[name] if name in given else None for name in names]  # a failed lookup is expensive
    numbers = members[0]
    members[0] = np.frombuffer(numbers.as_buffer(of_type="d"))
    # as_buffer flattens nested lists; checking each value is slow, so only if there is another list
    has_one_list = element.find(b"[") == element.rfind(b"[")
    if not has_one_list and any(isinstance(number, list) for number in numbers.as_list()):
        raise ValueError("a vector holds lists")
    return members


def _members_by_reference(element: bytes, names: tuple[str, ...]) -> list[Any]:
    """Do the same as `_members` with Python's json, which decides about all that simdjson rejects.

    Raises:
        MalformedReplyError: it is no segment either.
    """
    try:
        fields = json_fallback.read(element)
    except ValueError:
        raise MalformedReplyError("a segment is not valid JSON") from None
    numbers, *about = map(fields.get, names) if isinstance(fields, dict) else (None,)
    if not isinstance(numbers, list):
        raise MalformedReplyError("a segment has no vector")
    if not all(type(number) in _NUMBERS for number in numbers):
        raise MalformedReplyError("a vector has an element that is not a number")
    return [np.array(numbers, np.float64), *about]


def summary(envelope: Any, modality: Modality, elements: int) -> ReplySummary | Rejection:  # noqa: ANN401 - any JSON value
    """Parse the data of a response besides its segments.

    Args:
        envelope: the response with a {} for each segment that was cut out.
        modality: modality of the input.
        elements: number of segments that were cut out.

    Returns:
        The summary, or the rejection of the input.

    Raises:
        MalformedReplyError: no `model_name`, or neither segments nor an error message.
    """
    name = _text(envelope.get("model_name")) if isinstance(envelope, dict) else None
    if not name:
        raise MalformedReplyError("it has no model_name")
    if not name.isascii() and _UNDECODABLE.search(name):
        raise MalformedReplyError("its model_name is not encoded in UTF-8")
    embedding = envelope.get(embedding_name(modality))
    embedding = embedding if isinstance(embedding, dict) else {}
    if error := embedding.get("error_message"):
        return Rejection(error)
    if not elements:
        raise MalformedReplyError("it has no segments")
    if embedding.get("segments") != [{}] * elements:
        raise MalformedReplyError("its segments are not a list of objects")
    if modality is not Modality.AUDIO and elements != 1:
        raise MalformedReplyError(f"it has {elements} segments for one {modality}")
    metadata = embedding.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return ReplySummary(
        name,
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
