"""What can be embedded: `Text`, `Image` and `Audio`.

Nothing is guessed from a string: where the bytes of a file come from is named by the argument. No repr shows
content.
"""

import dataclasses
import io
import os
from collections.abc import AsyncIterable, Iterable
from typing import IO, Literal

Truncate = Literal["none", "start", "end"]
Chunks = Iterable[bytes] | AsyncIterable[bytes]

_SOURCES = ("url", "path", "data", "file", "chunks")


class Input:
    """One thing to embed: a `Text`, an `Image` or an `Audio`. The base of them, so that a list of all has one type."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Text(Input):
    """A text. Gives one segment.

    Args:
        value: the text; not empty, at most 64 KiB of UTF-8 unless the server says otherwise.
        key: any string of at most 256 bytes of UTF-8; it comes back with every event of this input.
        truncate: which end of a too long text is cut off, or "none" to fail instead; None leaves it to the
            upstream. `Model.text.truncates` lists what a model can do.

    Raises:
        TypeError: the value is no string.
    """

    value: str = dataclasses.field(repr=False)
    _: dataclasses.KW_ONLY
    key: str = dataclasses.field(default="", repr=False)
    truncate: Truncate | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.value, str):
            raise TypeError(f"value: must be a str, got {type(self.value).__name__}")
        if self.truncate not in (None, "none", "start", "end"):
            raise ValueError(f"truncate: must be 'none', 'start', 'end' or None, got {self.truncate!r}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Media(Input):
    """Where the bytes of a file are: exactly one of `url`, `path`, `data`, `file` and `chunks`.

    Files of together at most 1 MiB travel in the request; every other one is uploaded in chunks, and then no
    more than a chunk of it is in memory.

    Args:
        url: an absolute http or https URL of the raw file, which the upstream fetches.
        path: a local file. It is opened when its turn comes to be sent.
        data: the bytes themselves.
        file: a binary file, read from where it stands to its end; who opened it closes it.
        chunks: the bytes in pieces of any size, from an iterable or (`AsyncClient` only) an async iterable.
        file_name: a name for the file, which comes back as metadata; by default that of the path or file.
        media_type: for instance "audio/mpeg"; by default what the name suggests.
        key: any string of at most 256 bytes of UTF-8; it comes back with every event of this input.

    Raises:
        TypeError: none or several sources, or one of the wrong type.
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

    def __repr__(self) -> str:
        """Only the kind of source: names and content are the caller's own."""
        kind = next(name for name in _SOURCES if getattr(self, name) is not None)
        return f"{type(self).__name__}({kind}=...)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Image(Media):
    """An image. Gives one segment. Which formats a model takes, `Model.image` says.

    Its arguments are those of `Media`.
    """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Audio(Media):
    """An audio file. Gives segments over time. Which formats a model takes, `Model.audio` says.

    Its arguments are those of `Media`, and:

    Args:
        start_offset_sec: where to start, in seconds from the beginning of the file; None is the beginning.
            Offsets in the answer count from the beginning of the file all the same.
    """

    start_offset_sec: float | None = None


Known = Text | Image | Audio


def _check(name: str, source: object) -> None:
    """Find out now what would otherwise fail in the middle of an upload."""
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
        raise TypeError("chunks: must give bytes in pieces; pass bytes as data")
