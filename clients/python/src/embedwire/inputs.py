"""Inputs: `Text`, `Image` and `Audio`.

The argument names the source of a file; it is never guessed from a string. No repr contains content.
"""

import dataclasses
import io
import numbers
import os
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import IO, ClassVar, Literal

from embedwire import audio_options
from embedwire.audio_options import ProcessingMode, Segmentation

Truncate = Literal["none", "start", "end"]
Chunks = Iterable[bytes] | AsyncIterable[bytes]

# Sources whose content this client sends; the upstream has or fetches that of all others.
_CONTENT = ("path", "data", "file", "chunks")


class RepeatableChunks(Iterable[bytes]):
    """Base class of chunks that begin again with each iteration, for instance of a file in a bucket.

    As `Media.chunks` they are sent like a file: inline if they are small, and again after a rejection.

    Attributes:
        size: total size in bytes; None if it is unknown.
    """

    size: int | None


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
    """Base class of `Image` and `Audio`. It accepts exactly one source.

    The sources are `url`, `path`, `data`, `file`, `chunks` and `asset_id`; for `Audio` also `task_id`.

    Files of together at most 1 MiB are sent in the request. All others are uploaded in chunks, with one chunk in memory
    at a time.

    Args:
        url: absolute http or https URL of the raw file, which the upstream fetches.
        path: local file. It is opened when it is sent.
        data: content of the file.
        file: binary file, read from its current position to its end. It is not closed.
        chunks: content in chunks of any size, from an iterable or (`AsyncClient` only) an async iterable;
            `RepeatableChunks` are sent like a file.
        asset_id: identifier of a file that the upstream already has (an asset), 1 to 128 letters, digits, "-" and "_".
            It must belong to the account of the API key. The server does not delete
            it.
        file_name: file name, which is returned as metadata; by default that of the path or file.
        media_type: media type, for instance "audio/mpeg"; by default guessed from the file name.
        key: a string of at most 256 bytes of UTF-8, which is returned with each event of this input.

    Raises:
        TypeError: there is not exactly one source, or an argument has the wrong type.
    """

    _sources: ClassVar[tuple[str, ...]] = ("url", *_CONTENT, "asset_id")

    url: str | None = None
    path: str | os.PathLike[str] | None = None
    data: bytes | bytearray | memoryview | None = None
    file: IO[bytes] | None = None
    chunks: Chunks | None = None
    asset_id: str | None = None
    file_name: str = ""
    media_type: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        given = [name for name in self._sources if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise TypeError(f"{type(self).__name__} takes exactly one of {', '.join(self._sources)}; got {got}")
        _check(given[0], getattr(self, given[0]))
        _check_strings(self, "file_name", "media_type", "key")

    def __repr__(self) -> str:
        """Show only the kind of source: names and content are private."""
        return f"{type(self).__name__}({self.source}=...)"

    @property
    def source(self) -> str:
        """Name of the argument that is the source, for instance "path"."""
        return next(name for name in self._sources if getattr(self, name) is not None)

    @property
    def has_content(self) -> bool:
        """Whether this client sends the content: the source is neither a URL nor an identifier of the upstream."""
        return self.source in _CONTENT


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
        end_offset_sec: end in seconds from the beginning of the file; None means the end of the file.
        segmentation: division into segments, a `FixedSegmentation` or a `DynamicSegmentation`; None means the model's
            default.
        embedding_options: aspects to embed, for instance ["audio", "transcription"]; empty means all of them. Each
            window has one segment for each.
        embedding_scopes: scopes of the segments, "clip" for windows and "asset" for the whole file; empty means
            "clip".
        embedding_types: types of the vectors, "separate_embedding" for one of each aspect and "fused_embedding" for a
            common one of all; empty means "separate_embedding".
        processing_mode: "sync" for one synchronous request, which rejects long audio; "task" for a task, which the
            upstream completes in the background and bills even if the call ends before; None lets the server select.
        task_id: source in place of a file: identifier of an earlier task of the upstream, for instance
            `EmbedwireError.upstream_task_id` of a call whose deadline passed. The input waits for the task and returns
            its result, which is kept for seven days; nothing is billed again. The model and the dimensions must be
            those of the task, and all other arguments except the key must be left out.

    `Model.audio` lists the values that a model supports.

    Raises:
        TypeError: there is not exactly one source, or an argument has the wrong type.
        ValueError: the processing mode is unknown.
    """

    _sources: ClassVar[tuple[str, ...]] = (*Media._sources, "task_id")  # noqa: SLF001 - of the base class

    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    segmentation: Segmentation | None = None
    embedding_options: Sequence[str] = ()
    embedding_scopes: Sequence[str] = ()
    embedding_types: Sequence[str] = ()
    processing_mode: ProcessingMode | None = None
    task_id: str | None = None

    def __post_init__(self) -> None:
        Media.__post_init__(self)
        for name in ("start_offset_sec", "end_offset_sec"):
            if not isinstance(getattr(self, name), numbers.Real | None):
                raise TypeError(f"{name}: must be a number, got {type(getattr(self, name)).__name__}")
        audio_options.check_segmentation(self.segmentation)
        for name in ("embedding_options", "embedding_scopes", "embedding_types"):
            audio_options.check_names(name, getattr(self, name))
        audio_options.check_processing_mode(self.processing_mode)


AnyInput = Text | Image | Audio


def _check_strings(item: Input, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(item, name), str):
            raise TypeError(f"{name}: must be a str, got {type(getattr(item, name)).__name__}")


def _check(name: str, source: object) -> None:
    """Check the type of a source, which would otherwise fail in the middle of an upload."""
    expected: dict[str, tuple[type, ...]] = {
        "url": (str,),
        "asset_id": (str,),
        "task_id": (str,),
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
