"""How long an audio file plays, as its header says, before anybody has decoded it.

The files are callers' files: a header may lie, and whatever a broken or hostile one makes of the parser costs a
thread some hundredths of a second and no more.
"""

import asyncio
import errno
import io
from typing import BinaryIO, cast

from tinytag import TinyTag

from embedwire_server.core.inputs import Content

MOST_WORK = 1 << 20  # bytes to read; 30 s of an MP3 file, frame by frame, are the most that is needed, a third of it
LEAST_WORK = 256  # bytes that a read counts at least, since a file can ask for very many small ones
LONGEST_SECONDS = 10 * 24 * 3600.0


async def duration_of(content: Content) -> float | None:
    """Return the seconds that a WAV, FLAC or MP3 file plays; None if the header does not say.

    An MP3 file counts its encoder's padding, up to 0.1 s. One without a Xing, Info or VBRI header is estimated
    from its size and its first frames: five if those have the same bit rate, else those of 30 s.

    The thread that reads may go on for a moment after a cancellation; the file may be closed meanwhile.

    Raises:
        GatewayError: the file will never be complete, or is not what was declared.
    """
    return await asyncio.to_thread(_seconds, content, await content.ready())


def _seconds(content: Content, size: int) -> float | None:
    try:
        # it is as much of a BinaryIO as a parser needs
        tag = TinyTag.get(file_obj=cast("BinaryIO", _Opening(content, size)), tags=False)
        seconds = _held(tag, size)
    except Exception:  # noqa: BLE001 - the parser foresees little of what a file can hold, and any of it says the same
        return None
    return seconds if 0 < seconds <= LONGEST_SECONDS else None


def _held(tag: TinyTag, size: int) -> float:
    """The duration, but no more of a WAV file than it holds: one that was written into a pipe says 4 GiB."""
    seconds = tag.duration or 0.0
    if tag.bitrate and (tag.mime_type or "").startswith("audio/wav"):
        return min(seconds, size * 8 / (tag.bitrate * 1000))
    return seconds


class _Opening(io.RawIOBase):
    """A file as a parser reads it: from anywhere, but only so much."""

    def __init__(self, content: Content, size: int) -> None:
        super().__init__()
        self._content = content
        self._size = size
        self._position = 0
        self._work = 0

    def seekable(self) -> bool:
        """Always."""
        return True

    def readable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go anywhere but before the start, where a real file raises the same."""
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError(errno.EINVAL, "before the start of the file")
        self._position = position
        return position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read what is there of so many bytes; OSError once it was too much."""
        there = max(0, self._size - self._position)
        size = there if size < 0 else min(size, there)
        self._work += max(size, LEAST_WORK)
        if self._work > MOST_WORK:
            raise OSError(errno.EFBIG, "no header is that long")
        data = self._content.read_at(self._position, size)
        self._position += len(data)
        return data
