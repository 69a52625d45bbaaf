"""Streamed JSON body of known length, with at most one file in it."""

import asyncio
import binascii
import dataclasses
import json
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from embedwire_server.core.inputs import Content

# Of a file; divisible by 3, so that no piece but the last has padding. Encoded, a piece is a third larger.
PIECE_BYTES = 192 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class Base64File:
    """File of `size` bytes, as a value in a JSON document: it is written as a string in base64."""

    content: Content = dataclasses.field(repr=False)
    size: int


class JsonBody:
    """JSON object as a request body: compact, in UTF-8 without escapes, members in the order of the mapping.

    Args:
        members: the object; one of its values, at any depth, may be a `Base64File`.

    Attributes:
        content_type: the header that belongs to the body.
        length: its size in bytes.
        inline: the whole body if it has no file, else None.

    Raises:
        ValueError: it has several files.
    """

    content_type = "application/json"

    def __init__(self, members: Mapping[str, Any]) -> None:
        files: list[Base64File] = []
        mark = os.urandom(16).hex()  # unpredictable: no value of a caller contains it

        def marked(value: object) -> str:
            if not isinstance(value, Base64File):
                raise TypeError(f"{type(value).__name__} is no JSON value")
            files.append(value)
            return mark

        text = json.dumps(members, ensure_ascii=False, separators=(",", ":"), default=marked)
        if len(files) > 1:
            raise ValueError("a JSON body can have one file")
        before, _, after = text.partition(mark) if files else (text, "", "")
        self._before, self._after = before.encode(), after.encode()
        self._file = files[0] if files else None
        self.length = len(self._before) + len(self._after)
        if self._file is not None:
            self.length += (self._file.size + 2) // 3 * 4
        self.inline = self._before if self._file is None else None

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        """Yield the body from its start; the file is read and encoded as it is sent.

        Received bytes are processed before each further piece, as in `MultipartBody`.
        """
        yield self._before
        if self._file is None:
            return
        rest = b""  # up to two bytes that await the rest of their group of three
        async for chunk in self._file.content.chunks():
            start = 0
            while start < len(chunk):
                end = start + PIECE_BYTES - len(rest)
                piece, start = rest + chunk[start:end], end
                whole = len(piece) - len(piece) % 3
                rest = piece[whole:]
                await asyncio.sleep(0)
                if whole:
                    yield binascii.b2a_base64(piece[:whole], newline=False)
        yield binascii.b2a_base64(rest, newline=False) + self._after
