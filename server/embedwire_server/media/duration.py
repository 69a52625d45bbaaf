"""Audio duration from the header of a file, before it is decoded.

The files come from callers: a header may be wrong, and a broken or hostile file costs the parser's thread at most some
hundredths of a second.
"""

import asyncio
import errno
import io
from typing import BinaryIO, cast

from tinytag import TinyTag

from embedwire_server.core.inputs import Content

MOST_WORK = 1 << 20  # bytes to read; the most that is needed, 30 s of an MP3 file by frames, is a third of it
LEAST_WORK = 256  # the fewest bytes that a read counts as, since a file can cause very many small ones
LONGEST_SECONDS = 10 * 24 * 3600.0


async def duration_of(content: Content) -> float | None:
    """Return the duration of a WAV, FLAC or MP3 file in seconds; None if the header does not contain it.

    That of an MP3 file includes its encoder's padding, up to 0.1 s. Without a Xing, Info or VBRI header, it is
    estimated from the size of the file and its first frames: five if those have the same bit rate, else those of 30 s.

    The thread that reads may continue for a moment after a cancellation; the file may be closed meanwhile.

    Raises:
        GatewayError: the file will never be complete, or is not what was declared.
    """
    return await asyncio.to_thread(_seconds, content, await content.ready())


def _seconds(content: Content, size: int) -> float | None:
    try:
        # it has the methods of BinaryIO that the parser uses
        tag = TinyTag.get(file_obj=cast("BinaryIO", _Opening(content, size)), tags=False)
        seconds = _held(tag, size)
    except Exception:  # noqa: BLE001 - a broken file can raise anything in the parser
        return None
    return seconds if 0 < seconds <= LONGEST_SECONDS else None


def _held(tag: TinyTag, size: int) -> float:
    """Return the duration, for WAV at most that of the file's size: a file written to a pipe declares 4 GiB."""
    seconds = tag.duration or 0.0
    if tag.bitrate and (tag.mime_type or "").startswith("audio/wav"):
        return min(seconds, size * 8 / (tag.bitrate * 1000))
    return seconds


class _Opening(io.RawIOBase):
    """File object for the parser: seekable, with a limit on the bytes that are read."""

    def __init__(self, content: Content, size: int) -> None:
        super().__init__()
        self._content = content
        self._size = size
        self._position = 0
        self._work = 0

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position; one before the start raises OSError, as for a real file."""
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError(errno.EINVAL, "before the start of the file")
        self._position = position
        return position

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; raise OSError beyond the limit."""
        there = max(0, self._size - self._position)
        size = there if size < 0 else min(size, there)
        self._work += max(size, LEAST_WORK)
        if self._work > MOST_WORK:
            raise OSError(errno.EFBIG, "no header is that long")
        data = self._content.read_at(self._position, size)
        self._position += len(data)
        return data
