"""Streaming parser for multipart bodies.

aiohttp's parser is not used: it logs warnings on valid bodies (a second semicolon in a file name, a method that it has
deprecated itself), and acts on headers of a part that forms do not define.
"""

import re
from collections.abc import AsyncGenerator
from typing import Final

from aiohttp import StreamReader

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)', re.IGNORECASE)
_MAX_HEAD_BYTES: Final = 8_192


class MalformedError(ValueError):
    """The body is not a complete multipart document."""


class BodySizeError(ValueError):
    """The body is larger than permitted."""


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary in a `Content-Type` header, or `None`."""
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode("utf-8", "surrogateescape") if found else None


class Multipart:
    """Streaming parser for the parts of a body.

    Args:
        content: The body.
        boundary: The boundary, without its dashes.
        max_bytes: Limit of the body, in bytes.
    """

    def __init__(self, content: StreamReader, boundary: bytes, max_bytes: int) -> None:
        self._content = content
        self._delimiter = b"\r\n--" + boundary
        self._left = max_bytes
        self._buffer = bytearray(b"\r\n")  # a body may begin with the boundary, without a line break before it

    async def next_head(self) -> str | None:
        """Skip the rest of the current part and return the headers of the next, or `None` after the last.

        Raises:
            MalformedError: The body is truncated, or is no multipart document.
            BodySizeError: The body is too large.
        """
        async for _ in self._until(self._delimiter):
            pass
        while len(self._buffer) < 2:  # noqa: PLR2004
            await self._fill()
        if self._buffer.startswith(b"--"):
            while await self._read():
                pass
            return None
        head = bytearray()
        async for piece in self._until(b"\r\n\r\n"):
            head += piece
            if len(head) > _MAX_HEAD_BYTES:
                raise MalformedError
        if not head.lstrip(b" \t").startswith(b"\r\n"):
            raise MalformedError
        return head.decode("utf-8", "replace")

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content of the current part; its end is found by `next_head`."""
        async for piece in self._until(self._delimiter, consume=False):
            yield piece

    async def _until(self, mark: bytes, *, consume: bool = True) -> AsyncGenerator[bytes, None]:
        """Yield the bytes before the mark."""
        while (at := self._buffer.find(mark)) < 0:
            safe = len(self._buffer) - len(mark) + 1
            if safe > 0:
                yield self._take(safe)
            await self._fill()
        if at:
            yield self._take(at)
        if consume:
            del self._buffer[: len(mark)]

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _fill(self) -> None:
        data = await self._read()
        if not data:
            raise MalformedError
        self._buffer += data

    async def _read(self) -> bytes:
        data = await self._content.readany()
        self._left -= len(data)
        if self._left < 0:
            raise BodySizeError
        return data
