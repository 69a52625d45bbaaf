"""A multipart/form-data body of known length, written part by part and never as a whole."""

import dataclasses
import secrets
from collections.abc import AsyncGenerator, Sequence

from embedwire_server.domain import Content

_CRLF = b"\r\n"
# As the official SDK escapes them; unescaped they would end the name or the header.
_ESCAPES = str.maketrans({'"': "%22", "\\": "\\\\", "\r": "%0D", "\n": "%0A"})


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A plain value."""

    name: str
    value: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file of `size` bytes. The media type is written as it is: it must have been checked."""

    name: str
    file_name: str = dataclasses.field(repr=False)
    media_type: str
    size: int
    content: Content = dataclasses.field(repr=False)


Part = Field | File


class MultipartBody:
    """The parts in their order.

    Attributes:
        content_type: the header that belongs to the body.
        length: its size in bytes.
        inline: the whole body if no part is a file, else None.
        is_sent: whether all of it has been handed over.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._pieces: list[bytes | Content] = []
        self.length = 0
        separator = b"--" + boundary.encode()
        for part in parts:
            self._add(separator + _CRLF + _header(part))
            if isinstance(part, File):
                self._pieces.append(part.content)
                self.length += part.size
            else:
                self._add(part.value.encode())
            self._add(_CRLF)
        self._add(separator + b"--" + _CRLF)
        self.inline = None if any(isinstance(part, File) for part in parts) else b"".join(self._texts())
        self.is_sent = self.inline is not None

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the body from its start; files are read as they are sent."""
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                async for chunk in piece.chunks():
                    yield chunk
        self.is_sent = True

    def _add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.length += len(piece)

    def _texts(self) -> list[bytes]:
        return [piece for piece in self._pieces if isinstance(piece, bytes)]


def _header(part: Part) -> bytes:
    text = f'Content-Disposition: form-data; name="{part.name}"'
    if isinstance(part, File):
        text += f'; filename="{part.file_name.translate(_ESCAPES)}"\r\nContent-Type: {part.media_type}'
    return text.encode() + _CRLF + _CRLF
