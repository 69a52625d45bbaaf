"""Size, name, media type and content of a media input, for every source."""

import errno
import mimetypes
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from pathlib import Path
from typing import IO

from embedwire.inputs import Media, RepeatableChunks


class SourceError(OSError):
    """A file is unsuitable. The message is from this package; that of another OSError may contain caller content."""


def size(media: Media) -> int | None:
    """Return the size in bytes; None if it is unknown before the content is read.

    Raises:
        OSError: the path is not a readable file.
    """
    if media.data is not None:
        return memoryview(media.data).nbytes
    if media.path is not None:
        found = Path(media.path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(media.path))
        return found.st_size if stat.S_ISREG(found.st_mode) else None  # a pipe has no size
    if media.file is not None and _is_seekable(media.file) and not _is_device(media.file):
        position = media.file.tell()
        end = media.file.seek(0, os.SEEK_END)
        media.file.seek(position)
        return max(0, end - position)
    return media.chunks.size if isinstance(media.chunks, RepeatableChunks) else None


def name(media: Media) -> str:
    """Return the given file name, else that of the path or file; empty if there is none."""
    if media.file_name:
        return media.file_name
    if media.path is not None:
        return _base_name(os.fspath(media.path))
    file_name = getattr(media.file, "name", "")
    return _base_name(file_name) if isinstance(file_name, str) and not file_name.startswith("<") else ""


def media_type(media: Media) -> str:
    """Return the given media type, else guess it from the name; empty if unknown."""
    kind, encoding = mimetypes.guess_type(name(media))
    return media.media_type or ("" if encoding else kind or "")  # a compressed file has another type


def read_whole(media: Media, size: int) -> bytes:
    """Read the whole content, which has this size.

    Raises:
        OSError: the file cannot be read, or has grown since `size`.
    """
    parts: list[bytes] = []
    remaining = size
    for part in read(media, max(1, size)):
        remaining -= len(part)
        if remaining < 0:
            raise SourceError(errno.EFBIG, "the file has grown while it was read")
        parts.append(part)
    return b"".join(parts)


def read(media: Media, chunk_bytes: int) -> Iterator[bytes]:
    """Return the content in chunks of at most that size.

    Raises:
        OSError: the file cannot be read.
        TypeError: the chunks are an async iterable, or the source does not return bytes.
    """
    if media.data is not None:
        view = memoryview(media.data).cast("B")
        return (bytes(view[start : start + chunk_bytes]) for start in range(0, len(view), chunk_bytes))
    if media.path is not None:
        return _read_path(Path(media.path), chunk_bytes)
    if media.file is not None:
        return _read_file(media.file, chunk_bytes)
    if isinstance(media.chunks, Iterable):
        return (part for chunk in media.chunks for part in _split(chunk, chunk_bytes))
    raise TypeError("chunks: an async iterable needs AsyncClient and a call that can upload")


async def split_async(chunks: AsyncIterable[bytes], chunk_bytes: int) -> AsyncGenerator[bytes]:
    """Yield the content of an async iterable in chunks of at most that size."""
    async for chunk in chunks:
        for part in _split(chunk, chunk_bytes):
            yield part


def _read_path(path: Path, chunk_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _read_file(file, chunk_bytes)


def _read_file(file: IO[bytes], chunk_bytes: int) -> Iterator[bytes]:
    while (chunk := file.read(chunk_bytes)) != b"":
        if chunk is None:
            raise SourceError(errno.EAGAIN, "the file is non-blocking; open it in blocking mode")
        yield from _split(chunk, chunk_bytes)


def _split(chunk: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """Split one chunk into chunks of at most that size."""
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise TypeError(f"a file must return bytes, got {type(chunk).__name__}")
    view = memoryview(chunk).cast("B")
    for start in range(0, len(view), chunk_bytes):
        yield bytes(view[start : start + chunk_bytes])


def _base_name(path: str) -> str:
    """Return the last part, with "?" for bytes that are not UTF-8: protobuf strings must be UTF-8."""
    return Path(path).name.encode(errors="replace").decode()


def _is_device(file: IO[bytes]) -> bool:
    """Return whether it is not a regular file: a device or a pipe reports the size 0."""
    try:
        return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError):  # an in-memory file
        return False


def _is_seekable(file: object) -> bool:
    return bool(getattr(file, "seekable", lambda: False)())
