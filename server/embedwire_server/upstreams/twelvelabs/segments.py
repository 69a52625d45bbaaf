"""Parses the elements that the scanner cuts out of a response into segments; shared by all versions of the API."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import simdjson

from embedwire_server.core.results import Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http import json_fallback

MAX_OPTION_CHARS = 64
_FLOAT32 = np.dtype("<f4")
# A squared norm below this has no number that float32 cannot hold (from 3.4e38 on), and is faster to check.
_SURELY_FLOAT32 = 1e76
_NUMBERS = (int, float)

Values = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Members of an element, and how a segment is made of them.

    Attributes:
        members: names of the members that are read; the first is the vector.
        build: makes a segment of the packed vector and of the values of the other members, None for a missing one.
        has_second_vector: whether the second member is a list of numbers as well, which may be missing; it is packed.
    """

    members: tuple[str, ...]
    build: Callable[..., Segment]
    has_second_vector: bool = False


def parse(
    elements: Sequence[bytes], dimensions: int, layout: Layout
) -> tuple[list[Segment], MalformedReplyError | None]:
    """Parse elements, up to the first that is malformed.

    Returns:
        The segments, and the fault of the element after the last of them.
    """
    read: list[Segment] = []
    with np.errstate(over="ignore"):  # once for all elements: it takes longer than rounding a vector
        try:
            for element in elements:
                read.append(_segment(element, dimensions, layout))  # noqa: PERF401 - those before a fault count
        except MalformedReplyError as fault:
            return read, fault
    return read, None


def packed_if_usual(values: Values, dimensions: int) -> bytes | None:
    """Return a vector as packed float32, or None if a number of values or their size needs a closer look."""
    if len(values) != dimensions or not values.dot(values) < _SURELY_FLOAT32:
        return None
    return values.astype(_FLOAT32).tobytes()


def seconds(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    """Return an offset in seconds; None if there is none.

    Raises:
        MalformedReplyError: it is no finite number.
    """
    if value is None:
        return None
    if type(value) not in _NUMBERS or not math.isfinite(value):  # a bool is an int by isinstance
        raise MalformedReplyError("an offset is not a number of seconds")
    return float(value)


def word(value: Any, name: str) -> str:  # noqa: ANN401 - any JSON value
    """Return an embedding option or scope; empty if there is none.

    Raises:
        MalformedReplyError: it is no short printable text; the message calls it by `name`.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_OPTION_CHARS or not value.isprintable():
        raise MalformedReplyError(f"an {name} is not a word")
    return value


def _segment(element: bytes, dimensions: int, layout: Layout) -> Segment:
    try:
        values, *others = _members(element, layout)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        values, *others = _members_by_reference(element, layout)
    vector = _packed(values, dimensions)
    if layout.has_second_vector and others[0] is not None:
        others[0] = _packed(others[0], dimensions)
    return layout.build(vector, *others)


def _packed(values: Values, dimensions: int) -> bytes:
    if len(values) != dimensions:
        raise MalformedReplyError(f"a vector does not have {dimensions} dimensions")
    vector = values.astype(_FLOAT32)
    if not (values.dot(values) < _SURELY_FLOAT32 or np.isfinite(vector).all()):
        raise MalformedReplyError("a vector has a number outside the range of float32")
    return vector.tobytes()


def _members(element: bytes, layout: Layout) -> list[Any]:
    """Return the members of an element, those that are vectors as arrays; None for a missing one.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RuntimeError: simdjson rejects the element, it is no segment,
            or a member is repeated: simdjson would take the first, and every other parser takes the last.
    """
    names = layout.members
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
    if element.find(b"[") != element.rfind(b"["):
        _require_numbers(numbers)
    if layout.has_second_vector and (numbers := members[1]) is not None:
        members[1] = np.frombuffer(numbers.as_buffer(of_type="d"))
        _require_numbers(numbers)
    return members


def _require_numbers(numbers: Any) -> None:  # noqa: ANN401 - a list of simdjson
    if any(isinstance(number, list) for number in numbers.as_list()):
        raise ValueError("a vector holds lists")


def _members_by_reference(element: bytes, layout: Layout) -> list[Any]:
    """Do the same as `_members` with Python's json, which decides about all that simdjson rejects.

    Raises:
        MalformedReplyError: it is no segment either.
    """
    try:
        fields = json_fallback.read(element)
    except ValueError:
        raise MalformedReplyError("a segment is not valid JSON") from None
    members: list[Any] = [*map(fields.get, layout.members)] if isinstance(fields, dict) else [None]
    members[0] = _array(members[0])
    if layout.has_second_vector and members[1] is not None:
        members[1] = _array(members[1])
    return members


def _array(numbers: Any) -> Values:  # noqa: ANN401 - any JSON value
    if not isinstance(numbers, list):
        raise MalformedReplyError("a segment has no vector")
    if not all(type(number) in _NUMBERS for number in numbers):
        raise MalformedReplyError("a vector has an element that is not a number")
    return np.array(numbers, np.float64)
