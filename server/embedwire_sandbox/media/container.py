"""Audio containers: detects WAV, FLAC and MP3, and repairs headers without a length for libsndfile.

A writer that cannot seek, such as one that writes into a pipe, leaves the length out of the header. libsndfile then
reads a WAV file as empty, and guesses the length of an MP3 file from its first frames. Such a file is read through a
`View`, which replaces the header by one with the real length.
"""

import io
import os
import struct
from collections.abc import Callable, Iterator
from typing import IO, Final

from embedwire_sandbox.media import mpeg
from embedwire_sandbox.media.upload import Upload

_HEAD_BYTES: Final = 12
_CHUNK_HEAD_BYTES: Final = 8  # the name and the size of a chunk
_MAX_FORMAT_BYTES: Final = 64
_MAX_CHUNKS: Final = 1_000
_OPEN: Final = struct.pack("<I", 0xFFFFFFFF)  # libsndfile reads this size as: to the end of the file

Stream = IO[bytes] | io.RawIOBase


class View(io.RawIOBase):
    """File whose beginning is replaced.

    Args:
        beginning: The new beginning.
        file: The file, read from `skip` on after the beginning. It stays open when this is closed.
        size: Size of the file in bytes.
        skip: Number of bytes of the file that the beginning replaces.
    """

    def __init__(self, beginning: bytes, file: IO[bytes], size: int, skip: int) -> None:
        super().__init__()
        self._beginning = beginning
        self._file = file
        self._shift = skip - len(beginning)
        self._size = size - self._shift
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # of what `RawIOBase` gives
        """Read from one of the two parts into the buffer; may be less than requested."""
        size, position = len(buffer), self._position
        if position < len(self._beginning):
            data = self._beginning[position : position + size]
        else:
            self._file.seek(position + self._shift)
            data = self._file.read(size)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def opened(upload: Upload, check: Callable[[], None]) -> Stream | None:
    """Return the file at its start, with its length added where it is missing; `None` if it is no WAV, FLAC or MP3.

    libsndfile would also accept raw and other formats, by guessing.
    """
    file, size = upload.file, upload.size
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    begun: tuple[bytes, int] | None = None
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        begun = _wav_of_open_length(file, size)
    elif mpeg.is_mpeg(head):
        begun = mpeg.beginning(file, size, check)
    elif head[:4] != b"fLaC":
        return None
    file.seek(0)
    return View(begun[0], file, size, begun[1]) if begun else file


def _wav_of_open_length(file: IO[bytes], size: int) -> tuple[bytes, int] | None:
    """Return a new header and the length of the old one, if it declares no samples although some follow."""
    form = b""
    for name, position, length in _chunks(file, _HEAD_BYTES):
        if name == b"fmt " and length <= _MAX_FORMAT_BYTES:
            file.seek(position - _CHUNK_HEAD_BYTES)
            form = file.read(_CHUNK_HEAD_BYTES + length + length % 2)
        if name == b"data":
            is_open = length == 0 and form and position < size and not _is_chunks(file, position, size)
            return (b"RIFF" + _OPEN + b"WAVE" + form + b"data" + _OPEN, position) if is_open else None
    return None


def _is_chunks(file: IO[bytes], position: int, size: int) -> bool:
    """Whether chunks, such as metadata, fill the rest of the file: then it really has no samples."""
    end = position
    for name, start, length in _chunks(file, position):
        if not name.isascii() or not name.decode().isprintable():
            return False
        end = start + length + length % 2
    return end == size


def _chunks(file: IO[bytes], position: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, the position of its content, and its declared length."""
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(_CHUNK_HEAD_BYTES)
        if len(head) < _CHUNK_HEAD_BYTES:
            return
        start, length = position + _CHUNK_HEAD_BYTES, int.from_bytes(head[4:], "little")
        yield head[:4], start, length
        position = start + length + length % 2
