"""Parses responses of the v2 endpoints: segments and summary of synchronous replies and of tasks.

Pure functions. Facts: upstream API notes. Members that are not used are never checked; a usage or metadata of an
unknown form counts as missing, since the vectors are complete without it.
"""

import dataclasses
import enum
import math
from typing import Any

import numpy as np
import simdjson

from embedwire_server.core.inputs import FileSource, TextInput, UrlSource
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.twelvelabs import error_body, segments

SEGMENTS = "data"
MAX_TOKEN_KINDS, MAX_TOKENS = 16, (1 << 63) - 1
_VECTOR, _UNCERTAINTY = "embedding", "embedding_uncertainty"
_AUDIO = ("start_sec", "end_sec", "embedding_option", "embedding_scope")
_USUAL_DOCUMENT = {SEGMENTS, "usage", "metadata"}
_USUAL_ELEMENT = {_VECTOR, *_AUDIO}
_MOST_OBJECTS, _LISTS = 4, 2  # the document, a segment, `usage` and its `input_tokens`; the segments and a vector


class TaskStatus(enum.Enum):
    """Status of a task."""

    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class TaskReply:
    """Status of a task, with its result if it is ready.

    Attributes:
        status: of the task.
        segments: ordered by start, end, option and scope; empty unless it is ready.
        summary: data besides the segments.
        error_message: why it failed; empty if the upstream does not say it.
    """

    status: TaskStatus
    segments: list[Segment]
    summary: ReplySummary
    error_message: str = dataclasses.field(default="", repr=False)

    @property
    def has_ended(self) -> bool:
        """Whether the task is ready or failed."""
        return self.status is not TaskStatus.PROCESSING


def layout(call: EmbedCall, *, is_task: bool) -> segments.Layout:
    """Return the layout of the elements for an input."""
    vectors = (_VECTOR, _UNCERTAINTY) if call.has_uncertainty else (_VECTOR,)
    if call.modality is not Modality.AUDIO:
        return segments.Layout(vectors, _segment, has_second_vector=call.has_uncertainty)
    build = _whole_file if not is_task and is_single(call) else _window
    return segments.Layout((*vectors, *_AUDIO), build, has_second_vector=call.has_uncertainty)


def is_single(call: EmbedCall) -> bool:
    """Whether a synchronous reply has exactly one segment."""
    return call.modality is not Modality.AUDIO or (call.model.audio is not None and call.model.audio.segments_need_task)


def _segment(vector: bytes, uncertainty: bytes | None = None) -> Segment:
    return Segment(vector, uncertainty=uncertainty)


def _window(vector: bytes, *others: Any) -> Segment:  # noqa: ANN401 - any JSON values
    """Build a segment from an uncertainty, if it is requested, and from the members of audio."""
    *uncertainty, start, end, option, scope = others
    if start is None:
        raise MalformedReplyError("an audio segment has no start_sec")
    return Segment(
        vector,
        segments.seconds(start),
        segments.seconds(end),
        segments.word(option, "embedding option"),
        segments.word(scope, "embedding scope"),
        *uncertainty,
    )


def _whole_file(vector: bytes, *others: Any) -> Segment:  # noqa: ANN401 - any JSON values
    """Do the same for the only segment of a file, which begins with the file if the reply does not say it."""
    *uncertainty, start, end, option, scope = others
    return _window(vector, *uncertainty, 0.0 if start is None else start, end, option, scope)


def whole(body: bytes, call: EmbedCall) -> tuple[Segment, ReplySummary] | None:
    """Parse the complete response for a text, in its usual form, without a scanner.

    Returns:
        None for any other body (other members, nested lists, escapes, no UTF-8, faults): it needs the scanner.
    """
    if call.modality is not Modality.TEXT or call.has_uncertainty or not _has_usual_brackets(body) or b"\\" in body:
        return None
    try:
        document: Any = simdjson.Parser().parse(body)
        (element,) = document[SEGMENTS]
        values = np.frombuffer(element[_VECTOR].as_buffer(of_type="d"))
        if not _is_usual(document, _USUAL_DOCUMENT) or not _is_usual(element, _USUAL_ELEMENT):
            return None
        envelope = {name: document[name] for name in document if name != SEGMENTS}
        if envelope.get("metadata") is not None:
            return None
        if (usage := envelope.get("usage")) is not None:
            envelope["usage"] = _usual_usage(usage)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return None
    vector = segments.packed_if_usual(values, call.model.dimensions)
    return None if vector is None else (Segment(vector), _summary(envelope, call))


def _has_usual_brackets(body: bytes) -> bool:
    return _occurs(body, b"[", _LISTS) == _LISTS and _occurs(body, b"{", _MOST_OBJECTS) <= _MOST_OBJECTS


def _occurs(body: bytes, bracket: bytes, most: int) -> int:
    """Count a bracket, up to one more than `most`. Uses `find`, which is many times faster than `count`."""
    count, at = 0, body.find(bracket)
    while at >= 0 and count <= most:
        count, at = count + 1, body.find(bracket, at + 1)
    return count


def _is_usual(fields: Any, names: set[str]) -> bool:  # noqa: ANN401 - an object of simdjson
    """Whether an object has these members only, none of them twice."""
    given = list(fields)
    return names.issuperset(given) and len(set(given)) == len(given)


def _usual_usage(usage: Any) -> Any:  # noqa: ANN401 - an object of simdjson
    """Return the object as Python's parser does.

    Raises:
        ValueError, AttributeError, TypeError: it has other members, or one twice.
    """
    if not _is_usual(usage, {"input_tokens", "truncated", "truncation_reason"}):
        raise ValueError("other members")
    fields = usage.as_dict()
    tokens = usage["input_tokens"] if "input_tokens" in fields else None
    if tokens is not None and len(list(tokens)) != len(fields["input_tokens"]):
        raise ValueError("a member is given twice")
    return fields


def summary(envelope: Any, call: EmbedCall, elements: int) -> ReplySummary:  # noqa: ANN401 - any JSON value
    """Parse the data of a synchronous response besides its segments.

    Args:
        envelope: the response with a {} for each segment that was cut out.
        call: the input.
        elements: number of segments that were cut out.

    Raises:
        MalformedReplyError: it has no segments, or several for an input with one vector.
    """
    _check_segments(envelope, elements)
    if not elements:
        raise MalformedReplyError("it has no segments")
    if elements != 1 and is_single(call):
        raise MalformedReplyError(f"it has {elements} segments for one {call.modality}")
    return _summary(envelope, call)


def task_reply(envelope: Any, call: EmbedCall, found: list[Segment]) -> TaskReply:  # noqa: ANN401 - any JSON value
    """Parse the status of a task, with the segments that were cut out of it, in their order.

    Raises:
        MalformedReplyError: it has no status, or it is ready without segments.
    """
    _check_segments(envelope, len(found))
    status = _status(envelope.get("status"))
    if status is TaskStatus.READY and not found:
        raise MalformedReplyError("its task is ready and has no segments")
    return TaskReply(
        status,
        found if status is TaskStatus.READY else [],
        _summary(envelope, call),
        error_body.words(envelope.get("error")) if status is TaskStatus.FAILED else "",
    )


def _status(value: Any) -> TaskStatus:  # noqa: ANN401 - any JSON value
    """Return the status. All but ready and failed are stages of processing, for instance pending and queued."""
    if not isinstance(value, str) or not value:
        raise MalformedReplyError("its task has no status")
    return TaskStatus(value) if value in (TaskStatus.READY.value, TaskStatus.FAILED.value) else TaskStatus.PROCESSING


def order(segment: Segment) -> tuple[float, float, str, str]:
    """Return the key by which the segments of a task are ordered."""
    end = math.inf if segment.end_offset_sec is None else segment.end_offset_sec
    return segment.start_offset_sec or 0.0, end, segment.embedding_option, segment.embedding_scope


def _check_segments(envelope: Any, elements: int) -> None:  # noqa: ANN401 - any JSON value
    """Check that all elements, and nothing else, were cut out of the list; also if it is given twice."""
    if not isinstance(envelope, dict):
        raise MalformedReplyError("it is not a JSON object")
    given = envelope.get(SEGMENTS)
    if (given if given is not None else []) != [{}] * elements:
        raise MalformedReplyError("its segments are not a list of objects")


def _summary(envelope: dict[str, Any], call: EmbedCall) -> ReplySummary:
    """Return the summary. The model and a file's name are ours: the upstream repeats neither."""
    metadata, usage = _object(envelope.get("metadata")), _object(envelope.get("usage"))
    url, file_name = _text(metadata.get("input_url")), _text(metadata.get("input_filename"))
    if not isinstance(call.input, TextInput):
        source = call.input.source
        if isinstance(source, UrlSource):
            url = url or source.url
        elif isinstance(source, FileSource):
            file_name = source.file_name
    truncated = usage.get("truncated")
    return ReplySummary(
        call.model.name,
        input_url=url,
        input_filename=file_name,
        truncated=truncated if isinstance(truncated, bool) else None,
        media_duration_sec=_duration(metadata.get("duration")),
        input_tokens=_tokens(usage.get("input_tokens")),
    )


def _duration(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    is_duration = type(value) in (int, float) and 0 <= value < math.inf
    return float(value) if is_duration else None


def _tokens(value: Any) -> dict[str, int] | None:  # noqa: ANN401 - any JSON value
    """Return the tokens by kind of content, as far as they are counts."""
    counts = {
        name: count
        for name, count in _object(value).items()
        if type(count) is int and 0 <= count <= MAX_TOKENS and len(name) <= segments.MAX_OPTION_CHARS
    }
    return dict(list(counts.items())[:MAX_TOKEN_KINDS]) or None


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else None
