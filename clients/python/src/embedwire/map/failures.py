"""Failures of single inputs of a run, with the positions of the inputs in the iterator."""

import dataclasses
import errno
import os
import re
from collections.abc import Iterator, Sequence

from embedwire import options
from embedwire.errors import Failure, FieldViolation, RequestError
from embedwire.files import SourceError
from embedwire.inputs import Audio, Image, Text
from embedwire.map.batches import Item
from embedwire.results import Embedding, Result, Timings

_INPUT = re.compile(r"(?:request\.)?inputs\[(\d+)\]")
_REQUEST = "request."

MISSING = Failure("INTERNAL", "INTERNAL", "the server ended the call without a result for this input")


def deadline_exceeded(message: str) -> Failure:
    """Return the failure of an input or a run whose deadline passed."""
    return Failure("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", message)


def failed(item: Item, failure: Failure, request_id: str = "", attempts: int = 0) -> Embedding:
    """Return the embedding of an input that failed without a result of the server."""
    timings = Timings(0.0, 0.0, 0.0, 0.0)
    facts = ("", 0, 0, None, None, None, None, attempts, timings, "", failure.with_task(item.task_id), request_id)
    return Embedding(Result(item.position, item.input.key, *facts), ())


def positioned(embedding: Embedding, items: Sequence[Item]) -> Embedding:
    """Replace the index of the input in the call by its position in the iterator."""
    position = items[embedding.result.input_index].position
    failure = embedding.failure and with_positions(embedding.failure, items)
    segments = (dataclasses.replace(segment, input_index=position) for segment in embedding.segments)
    result = dataclasses.replace(embedding.result, input_index=position, failure=failure)
    return Embedding(result, tuple(segments))


def with_positions(failure: Failure, items: Sequence[Item]) -> Failure:
    """Replace the indices of inputs in fields and message by their positions in the iterator."""
    violations = tuple(
        FieldViolation(_with_position(violation.field, items), violation.description)
        for violation in failure.violations
    )
    return dataclasses.replace(failure, message=_with_position(failure.message, items), violations=violations)


def by_input(failure: Failure, items: Sequence[Item]) -> dict[int, Failure]:
    """Split the failure of an invalid request by input.

    Returns:
        The failure of each input that the violations name, by index in the call; empty if they name none.
    """
    if not isinstance(failure.error(), RequestError):
        return {}
    found: dict[int, list[FieldViolation]] = {}
    for violation in failure.violations:
        match = _INPUT.match(violation.field)
        if match and int(match[1]) < len(items):
            found.setdefault(int(match[1]), []).append(violation)
    return {index: with_positions(_narrowed(failure, mine), items) for index, mine in found.items()}


def unreadable(item: Item, error: BaseException) -> Failure:
    """Return the failure of an input that cannot be read or encoded, without its content."""
    part = next((name for name, value in _strings(item) if not options.is_utf8(value)), None)
    fault = options.NOT_UTF8
    if part is None:
        part, fault = f"{_kind(item)}.source", f"cannot be read: {_words(error)}"
    violation = FieldViolation(f"inputs[{item.position}].{part}", fault)
    message = f"{violation.field}: {violation.description}"
    return Failure("INVALID_ARGUMENT", "INVALID_REQUEST", message, (violation,))


def _kind(item: Item) -> str:
    return "text" if isinstance(item.input, Text) else "image" if isinstance(item.input, Image) else "audio"


def _strings(item: Item) -> Iterator[tuple[str, str]]:
    """Yield the strings of an input, with the paths of their fields."""
    yield "key", item.input.key
    if isinstance(item.input, Text):
        yield "text.value", item.input.value
        return
    source = f"{_kind(item)}.source"
    file = f"{source}.{'upload' if item.is_upload else 'file'}"
    yield f"{source}.url", item.input.url or ""
    yield f"{file}.file_name", item.input.file_name
    yield f"{file}.media_type", item.input.media_type
    yield f"{source}.asset.id", item.input.asset_id or ""
    if isinstance(item.input, Audio):
        yield f"{source}.task.id", item.input.task_id or ""
        for name in ("embedding_options", "embedding_scopes", "embedding_types"):
            for index, value in enumerate(getattr(item.input, name)):
                yield f"audio.{name}[{index}]", value


def _words(error: BaseException) -> str:
    """Return the message of the system or of this package. Other messages may contain paths or content."""
    if isinstance(error, SourceError):
        return str(error.strerror)
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return type(error).__name__


def _narrowed(failure: Failure, violations: Sequence[FieldViolation]) -> Failure:
    message = f"{violations[0].field}: {violations[0].description}"
    return dataclasses.replace(failure, message=message, violations=tuple(violations))


def _with_position(text: str, items: Sequence[Item]) -> str:
    match = _INPUT.match(text)
    if match and int(match[1]) < len(items):
        return f"inputs[{items[int(match[1])].position}]{text[match.end() :]}"
    return text.removeprefix(_REQUEST)
