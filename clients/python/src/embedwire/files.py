"""The bytes of a file, wherever they are: its size, its name, and its content in chunks."""

import asyncio
import errno
import mimetypes
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import IO

from embedwire.inputs import Media


def size(media: Media) -> int | None:
    """How many bytes there are; None if that cannot be known before they are read.

    Raises:
        OSError: the path is no file that can be read.
    """
    if media.data is not None:
        return memoryview(media.data).nbytes
    if media.path is not None:
        found = Path(media.path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(media.path))
        return found.st_size if stat.S_ISREG(found.st_mode) else None  # a pipe has no size
    if media.file is not None and _is_seekable(media.file) and not _is_device(media.file):
        here = media.file.tell()
        end = media.file.seek(0, os.SEEK_END)
        media.file.seek(here)
        return max(0, end - here)
    return None


def name(media: Media) -> str:
    """The name that was given, else that of the path or file; empty if there is none."""
    if media.file_name:
        return media.file_name
    if media.path is not None:
        return _base_name(os.fspath(media.path))
    named = getattr(media.file, "name", "")
    return _base_name(named) if isinstance(named, str) and not named.startswith("<") else ""


def media_type(media: Media) -> str:
    """The media type that was given, else what the name suggests; empty if it suggests none."""
    kind, encoding = mimetypes.guess_type(name(media))
    return media.media_type or ("" if encoding else kind or "")  # a compressed file is not what it was


def read_whole(media: Media, size: int) -> bytes:
    """All of a content of this size.

    Raises:
        OSError: the file cannot be read, or has grown since it was measured.
    """
    parts: list[bytes] = []
    left = size
    for part in read(media, max(1, size)):
        left -= len(part)
        if left < 0:
            raise OSError(errno.EFBIG, "the file has grown while it was read")
        parts.append(part)
    return b"".join(parts)


def read(media: Media, chunk_bytes: int) -> Iterator[bytes]:
    """The content in chunks of at most that size.

    Raises:
        OSError: the file cannot be read.
        TypeError: the chunks come from an async iterable, or something gives what are no bytes.
    """
    if media.data is not None:
        view = memoryview(media.data).cast("B")
        return (bytes(view[start : start + chunk_bytes]) for start in range(0, len(view), chunk_bytes))
    if media.path is not None:
        return _read_path(Path(media.path), chunk_bytes)
    if media.file is not None:
        return _read_file(media.file, chunk_bytes)
    if isinstance(media.chunks, Iterable):
        return (piece for chunk in media.chunks for piece in _pieces(chunk, chunk_bytes))
    raise TypeError("chunks: an async iterable needs AsyncClient and a call that can upload")


async def read_async(media: Media, chunk_bytes: int) -> AsyncIterator[bytes]:
    """The same, without blocking the event loop: whatever may block is read in a thread."""
    if isinstance(media.chunks, AsyncIterable):
        async for chunk in media.chunks:
            for piece in _pieces(chunk, chunk_bytes):
                yield piece
        return
    chunks = read(media, chunk_bytes)
    while piece := await asyncio.to_thread(next, chunks, b""):
        yield piece


def _read_path(path: Path, chunk_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _read_file(file, chunk_bytes)


def _read_file(file: IO[bytes], chunk_bytes: int) -> Iterator[bytes]:
    while (chunk := file.read(chunk_bytes)) != b"":
        if chunk is None:
            raise BlockingIOError(errno.EAGAIN, "the file does not block; open one that does")
        yield from _pieces(chunk, chunk_bytes)


def _pieces(chunk: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """One chunk of whatever size, in chunks of at most that size."""
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise TypeError(f"a file must give bytes, got {type(chunk).__name__}")
    view = memoryview(chunk).cast("B")
    for start in range(0, len(view), chunk_bytes):
        yield bytes(view[start : start + chunk_bytes])


def _base_name(path: str) -> str:
    """The last part; what is not UTF-8 in it becomes a question mark, since protobuf takes nothing else."""
    return Path(path).name.encode(errors="replace").decode()


def _is_device(file: IO[bytes]) -> bool:
    """Whether it is a device, which says of its size that it is 0."""
    try:
        return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError):  # it is in memory
        return False


def _is_seekable(file: object) -> bool:
    return bool(getattr(file, "seekable", lambda: False)())
