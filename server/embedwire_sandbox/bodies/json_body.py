"""Reads a JSON body in pieces; the values of `base64_string` are decoded into temporary files as they arrive.

A body of 48 MB is thus never in memory as a whole. Each such value is replaced by `NaN` in the text that is parsed,
which is no JSON: the parser then calls back for each, in order, and a `NaN` of the client is refused before.
"""

import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Final, Self

from aiohttp import web

from embedwire_sandbox.errors import RefusalError, malformed_json, too_large, wrong_content_type
from embedwire_sandbox.media.upload import Upload, spool

_KEY: Final = b'"base64_string"'
_PLACEHOLDER: Final = b"NaN"
_NOT_BASE64: Final = "The base64_string parameter is invalid. It is not base64."
_QUANTUM: Final = 4
_BACKSLASH: Final = ord("\\")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits in bytes for the text of a body without its base64 strings, one decoded file, and the whole body."""

    text: int
    file: int
    body: int


@dataclass(slots=True)
class JsonBody:
    """Body of one request. Leaving its context closes the files.

    Attributes:
        members: The members of the object; each base64 string is an `Upload`.
        files: The decoded files that are closed with this.
    """

    members: dict[str, Any] = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for upload in self.files:
            upload.file.close()


async def read_json(request: web.Request, body: JsonBody, limits: BodyLimits) -> None:
    """Fill `body` with the members of the request.

    Args:
        request: The request, its body unread.
        body: An empty body, already entered, so that its files are always closed.
        limits: The limits.

    Raises:
        RefusalError: The content type, the syntax or a size is invalid.
    """
    if request.content_type != "application/json":
        raise wrong_content_type("application/json")
    if (request.content_length or 0) > limits.body:
        raise too_large(limits.body)
    scanner = JsonScanner(body.files, limits)
    size = 0
    async for data in request.content.iter_any():
        size += len(data)
        if size > limits.body:
            raise too_large(limits.body)
        scanner.feed(data)
    body.members = scanner.members()


class JsonScanner:
    """Separates the base64 strings of a JSON document from the rest.

    Args:
        files: Receives a file for each string.
        limits: The limits.
    """

    def __init__(self, files: list[Upload], limits: BodyLimits) -> None:
        self._files = files
        self._limits = limits
        self._text = bytearray()
        self._decoder: _Decoder | None = None
        self._step: Callable[[bytes, int], int] = self._outside

    def feed(self, data: bytes) -> None:
        """Scan the next piece of the document.

        Raises:
            RefusalError: The text or a file is too large, or a string is not base64.
        """
        position = 0
        while position < len(data):
            position = self._step(data, position)
        if len(self._text) > self._limits.text:
            raise malformed_json(f"The body without its base64 strings is larger than {self._limits.text} bytes.")

    def members(self) -> dict[str, Any]:
        """Return the members of the object at the end of the document.

        Raises:
            RefusalError: It is no complete JSON object.
        """
        if self._step != self._outside:
            raise malformed_json()
        uploads = iter(self._files)
        try:
            members = json.loads(self._text.decode(), parse_constant=lambda _: next(uploads))
        except (ValueError, RecursionError):
            raise malformed_json() from None
        if not isinstance(members, dict):
            raise malformed_json()
        return members

    def _outside(self, data: bytes, position: int) -> int:
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        piece = data[position:end]
        if b"N" in piece or b"I" in piece:  # NaN and Infinity, which Python would accept
            raise malformed_json()
        self._text += piece
        if quote < 0:
            return end
        if self._after_key():
            self._text += _PLACEHOLDER
            file = spool()
            self._files.append(Upload(file, 0))  # the body closes it from now on
            self._decoder = _Decoder(file, self._limits.file)
            self._step = self._base64
        else:
            self._text += b'"'
            self._step = self._string
        return quote + 1

    def _after_key(self) -> bool:
        lead = bytes(self._text[-len(_KEY) - 64 :]).rstrip()
        lead = lead[:-1].rstrip() if lead.endswith(b":") else b""
        return lead.endswith(_KEY) and not lead.endswith(b"\\" + _KEY)

    def _string(self, data: bytes, position: int) -> int:
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote + 1
        self._text += data[position:end]
        if quote >= 0 and not self._is_escaped():
            self._step = self._outside
        return end

    def _is_escaped(self) -> bool:
        """Whether the quote at the end of the text has an odd number of backslashes before it."""
        first = len(self._text) - 1
        while first and self._text[first - 1] == _BACKSLASH:
            first -= 1
        return (len(self._text) - 1 - first) % 2 == 1

    def _base64(self, data: bytes, position: int) -> int:
        assert self._decoder is not None  # noqa: S101 - set by the step before
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        self._decoder.write(data[position:end])
        if quote < 0:
            return end
        self._files[-1] = self._decoder.finish()
        self._step = self._outside
        return quote + 1


class _Decoder:
    """Decodes base64 into a file.

    Args:
        file: The file.
        limit: Largest decoded size, in bytes.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._size = 0
        self._rest = b""
        self._ended = False

    def write(self, data: bytes) -> None:
        """Decode the next piece.

        Raises:
            RefusalError: It is not base64, or the file is too large.
        """
        data = self._rest + data
        held = data.endswith(b"\\")  # an escaped slash may be cut in two
        plain = (data[:-1] if held else data).replace(b"\\/", b"/")
        whole = len(plain) - len(plain) % _QUANTUM
        self._rest = plain[whole:] + (b"\\" if held else b"")
        self._decode(plain[:whole])

    def finish(self) -> Upload:
        """Return the file, positioned at its start.

        Raises:
            RefusalError: The string is no complete base64.
        """
        if self._rest:
            raise _not_base64()
        self._file.seek(0)
        return Upload(self._file, self._size)

    def _decode(self, data: bytes) -> None:
        if not data:
            return
        if self._ended:  # something follows the padding
            raise _not_base64()
        try:
            decoded = binascii.a2b_base64(data, strict_mode=True)
        except binascii.Error:
            raise _not_base64() from None
        self._ended = data.endswith(b"=")
        self._size += len(decoded)
        if self._size > self._limit:
            raise too_large(self._limit)
        self._file.write(decoded)  # a write to disk goes to the page cache: not worth a thread


def _not_base64() -> RefusalError:
    return malformed_json(_NOT_BASE64)
