"""Inputs: `Text`, `Image` and `Audio`.

The argument names the source of a file; it is never guessed from a string. No repr contains content.
"""

import dataclasses
import io
import numbers
import os
from collections.abc import AsyncIterable, Iterable
from typing import IO, Literal

Truncate = Literal["none", "start", "end"]
Chunks = Iterable[bytes] | AsyncIterable[bytes]

_SOURCES = ("url", "path", "data", "file", "chunks")


class Input:
    """Base class of `Text`, `Image` and `Audio`."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Text(Input):
    """A text to embed. It yields one segment.

    Args:
        value: the text; not empty, at most 64 KiB of UTF-8 unless the server is configured otherwise.
        key: a string of at most 256 bytes of UTF-8, which is returned with each event of this input.
        truncate: end of a too long text to cut off, or "none" to fail instead; None means the upstream's default.
            `Model.text.truncates` lists the values that a model supports.

    Raises:
        TypeError: the value or the key is not a string.
        ValueError: truncate is invalid.
    """

    value: str = dataclasses.field(repr=False)
    _: dataclasses.KW_ONLY
    key: str = dataclasses.field(default="", repr=False)
    truncate: Truncate | None = None

    def __post_init__(self) -> None:
        _check_strings(self, "value", "key")
        if self.truncate not in (None, "none", "start", "end"):
            raise ValueError(f"truncate: must be 'none', 'start', 'end' or None, got {self.truncate!r}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Media(Input):
    """Base class of `Image` and `Audio`. It accepts exactly one source: `url`, `path`, `data`, `file` or `chunks`.

    Files of together at most 1 MiB are sent in the request. All others are uploaded in chunks, with one chunk in memory
    at a time.

    Args:
        url: absolute http or https URL of the raw file, which the upstream fetches.
        path: local file. It is opened when it is sent.
        data: content of the file.
        file: binary file, read from its current position to its end. It is not closed.
        chunks: content in chunks of any size, from an iterable or (`AsyncClient` only) an async iterable.
        file_name: file name, which is returned as metadata; by default that of the path or file.
        media_type: media type, for instance "audio/mpeg"; by default guessed from the file name.
        key: a string of at most 256 bytes of UTF-8, which is returned with each event of this input.

    Raises:
        TypeError: there is not exactly one source, or an argument has the wrong type.
    """

    url: str | None = None
    path: str | os.PathLike[str] | None = None
    data: bytes | bytearray | memoryview | None = None
    file: IO[bytes] | None = None
    chunks: Chunks | None = None
    file_name: str = ""
    media_type: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise TypeError(f"{type(self).__name__} takes exactly one of {', '.join(_SOURCES)}; got {got}")
        _check(given[0], getattr(self, given[0]))
        _check_strings(self, "file_name", "media_type", "key")

    def __repr__(self) -> str:
        """Show only the kind of source: names and content are private."""
        kind = next(name for name in _SOURCES if getattr(self, name) is not None)
        return f"{type(self).__name__}({kind}=...)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Image(Media):
    """An image to embed. It yields one segment. `Model.image` lists the formats that a model accepts.

    The arguments are those of `Media`.
    """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Audio(Media):
    """An audio file to embed. It yields segments over time. `Model.audio` lists the formats that a model accepts.

    The arguments are those of `Media`, and:

    Args:
        start_offset_sec: start in seconds from the beginning of the file; None means the beginning. Offsets of segments
            also count from the beginning of the file.

    Raises:
        TypeError: there is not exactly one source, or an argument has the wrong type.
    """

    start_offset_sec: float | None = None

    def __post_init__(self) -> None:
        Media.__post_init__(self)
        if not isinstance(self.start_offset_sec, numbers.Real | None):
            raise TypeError(f"start_offset_sec: must be a number, got {type(self.start_offset_sec).__name__}")


AnyInput = Text | Image | Audio


def _check_strings(item: Input, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(item, name), str):
            raise TypeError(f"{name}: must be a str, got {type(getattr(item, name)).__name__}")


def _check(name: str, source: object) -> None:
    """Check the type of a source, which would otherwise fail in the middle of an upload."""
    expected: dict[str, tuple[type, ...]] = {
        "url": (str,),
        "path": (str, os.PathLike),
        "data": (bytes, bytearray, memoryview),
        "chunks": (Iterable, AsyncIterable),
    }
    if name == "file" and (isinstance(source, io.TextIOBase) or not hasattr(source, "read")):
        raise TypeError("file: must be open for reading in binary mode ('rb')")
    if name in expected and not isinstance(source, expected[name]):
        allowed = " or ".join(kind.__name__ for kind in expected[name])
        raise TypeError(f"{name}: must be {allowed}, got {type(source).__name__}")
    if name == "chunks" and isinstance(source, str | bytes | bytearray | memoryview):
        raise TypeError("chunks: must be an iterable of bytes; pass bytes as data")
