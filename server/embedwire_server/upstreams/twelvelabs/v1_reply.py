"""Parses responses of the v1 endpoint: segments and summary.

Pure functions. Facts: upstream API notes, sections 2, 2.1 and 8.
"""

import dataclasses
import re
from typing import Any

import numpy as np
import simdjson

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.twelvelabs import segments

_TEXT_EMBEDDING = "text_embedding"
_USUAL_MEMBERS = (2, 1, 1)  # number of members of the document, the embedding and the segment
_UNDECODABLE = re.compile("[\udc80-\udcff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Rejection:
    """Response with status 200 whose `error_message` says that the input failed."""

    message: Any = dataclasses.field(repr=False)  # a string, unless the upstream sends something else


def _audio_segment(vector: bytes, start: Any, end: Any, option: Any) -> Segment:  # noqa: ANN401 - any JSON values
    if start is None:
        raise MalformedReplyError("an audio segment has no start_offset_sec")
    return Segment(vector, segments.seconds(start), segments.seconds(end), segments.word(option, "embedding option"))


_VECTOR = segments.Layout(("float",), Segment)
LAYOUTS = {
    Modality.TEXT: _VECTOR,
    Modality.IMAGE: _VECTOR,
    Modality.AUDIO: segments.Layout(
        ("float", "start_offset_sec", "end_offset_sec", "embedding_option"), _audio_segment
    ),
}


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
    if members != _USUAL_MEMBERS or not name or not isinstance(name, str):
        return None
    vector = segments.packed_if_usual(values, dimensions)
    return None if vector is None else (Segment(vector), ReplySummary(name))


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


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else None
