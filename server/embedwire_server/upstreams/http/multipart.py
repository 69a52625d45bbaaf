"""Streamed multipart/form-data body of known length."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncGenerator, Sequence

from embedwire_server.core.inputs import Content

# As the official SDK escapes them; unescaped they would end the name or the header.
_ESCAPES = str.maketrans({'"': "%22", "\\": "\\\\", "\r": "%0D", "\n": "%0A"})


@dataclasses.dataclass(slots=True)
class Field:
    """Field with a plain value."""

    name: str
    value: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """File of `size` bytes. The media type is written unchanged: it must have been checked."""

    name: str
    file_name: str = dataclasses.field(repr=False)
    media_type: str
    size: int
    content: Content = dataclasses.field(repr=False)


Part = Field | File


class MultipartBody:
    """Multipart body, with the parts in order.

    Attributes:
        content_type: the header that belongs to the body.
        length: its size in bytes.
        inline: the whole body if no part is a file, else None.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        boundary = os.urandom(16).hex()  # unpredictable: a text that contains it could forge a part
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._pieces: list[bytes | Content] = []
        self.length = 0
        text = ""
        for part in parts:
            text += f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"'
            if isinstance(part, File):
                name = part.file_name.translate(_ESCAPES)
                self._add(f'{text}; filename="{name}"\r\nContent-Type: {part.media_type}\r\n\r\n')
                self._pieces.append(part.content)
                self.length += part.size
                text = "\r\n"
            else:
                text += f"\r\n\r\n{part.value}\r\n"
        self._add(f"{text}--{boundary}--\r\n")
        first = self._pieces[0]
        self.inline = first if len(self._pieces) == 1 and isinstance(first, bytes) else None

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        """Yield the body from its start; files are read as they are sent.

        Received bytes are processed before each further piece: an upstream that rejects a file halfway closes the
        connection, and writing to it would discard the response.
        """
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                async for chunk in piece.chunks():
                    await asyncio.sleep(0)
                    yield chunk

    def _add(self, text: str) -> None:
        piece = text.encode()
        self._pieces.append(piece)
        self.length += len(piece)
