"""Rows of parts for tests."""

import struct
from collections.abc import Iterator

from embedwire.batch.parts import Row

DIMENSIONS = 8


def vector(number: int, dimensions: int = DIMENSIONS) -> bytes:
    """Return a vector whose values differ in all their bytes."""
    return struct.pack(f"<{dimensions}f", *((number + 1) / (index + 3) for index in range(dimensions)))


def text(number: int, dimensions: int = DIMENSIONS) -> Row:
    return Row(
        f"text-{number}", "text", 0, None, None, "", "", None, truncated=False, vector=vector(number, dimensions)
    )


def audio(number: int, index: int, *, has_uncertainty: bool = False) -> Row:
    start = 10.0 * index
    uncertainty = vector(1000 + index) if has_uncertainty else None
    own = ("audio", "clip", 30.0, None, vector(number * 10 + index), uncertainty)
    return Row(f"sound-{number}.wav", "audio", index, start, start + 10, *own)


def texts(count: int, dimensions: int = DIMENSIONS) -> Iterator[Row]:
    return (text(number, dimensions) for number in range(count))
