"""Reads the multipart form of a request, and spools its files.

Everything that the SDK was recorded to send is accepted (upstream API notes, sections 8 and 10): any order of the
parts, parts without a content type, file parts without a file name, raw UTF-8 file names with `"` as `%22`, bodies
with a length or chunked. Of a repeated name the first part counts. A part is a file because of its name, never
because of its headers.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Final, Self

from aiohttp import web

from embedwire_sandbox.bodies.multipart import BodySizeError, MalformedError, Multipart, boundary_of
from embedwire_sandbox.errors import RefusalError, invalid, malformed_form, too_large, wrong_content_type
from embedwire_sandbox.media.upload import Upload, spool

_MAX_PARTS: Final = 64
_PARAMETER: Final = re.compile(r';\s*(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_DISPOSITION: Final = re.compile(r"^Content-Disposition:\s*form-data(.*)$", re.IGNORECASE | re.MULTILINE)
_ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}


@dataclass(slots=True)
class Form:
    """Form of one request. Leaving its context closes the files.

    Attributes:
        names: The name of every part, in the order of arrival, repetitions included.
        fields: The first value of each field part.
        files: The first file of each file part.
    """

    names: list[str] = field(default_factory=list)
    fields: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for upload in self.files.values():
            upload.file.close()


def _oversize(name: str, limit: int) -> RefusalError:
    return invalid(name, f"The file is larger than {limit} bytes.")


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits in bytes for one field, one file and the whole body.

    Attributes:
        field: Largest field.
        file: Largest file.
        body: Largest body.
        oversize: Returns the error for a file that is too large, from the name of its part and the limit.
        spool: Returns an empty file for the content of a part.
    """

    field: int
    file: int
    body: int
    oversize: Callable[[str, int], RefusalError] = _oversize
    spool: Callable[[], IO[bytes]] = spool


async def read_form(
    request: web.Request, form: Form, limits: FormLimits, fields: Collection[str], files: Collection[str]
) -> None:
    """Fill `form` with the parts of the request.

    Args:
        request: The request, its body unread.
        form: An empty form, already entered, so that its files are always closed.
        limits: The limits.
        fields: Names of the field parts to keep.
        files: Names of the file parts to keep.

    Raises:
        RefusalError: The content type, the framing or a size is invalid.
    """
    boundary = boundary_of(request.headers.get("Content-Type", ""))
    if request.content_type != "multipart/form-data" or boundary is None:
        raise wrong_content_type()
    if (request.content_length or 0) > limits.body:
        raise too_large(limits.body)
    reader = Multipart(request.content, boundary, limits.body)
    try:
        while (head := await reader.next_head()) is not None:
            name, filename = _names(head)
            _count(form, name)
            if name in files and name not in form.files:
                await _file(name, filename, reader, form, limits)
            elif name in fields and name not in form.fields:
                form.fields[name] = await _field(name, reader, limits.field)
    except BodySizeError:
        raise too_large(limits.body) from None
    except MalformedError:
        raise malformed_form() from None


def _count(form: Form, name: str) -> None:
    form.names.append(name)
    if len(form.names) > _MAX_PARTS:
        raise MalformedError


async def _file(name: str, filename: str | None, reader: Multipart, form: Form, limits: FormLimits) -> None:
    file = limits.spool()
    form.files[name] = Upload(file, 0, filename)  # the form closes it from now on
    size = 0
    async for piece in reader.content():
        size += len(piece)
        if size > limits.file:
            raise limits.oversize(name, limits.file)
        file.write(piece)  # a write to disk goes to the page cache: not worth a thread
    file.seek(0)
    form.files[name] = Upload(file, size, filename)


async def _field(name: str, reader: Multipart, limit: int) -> bytes:
    value = bytearray()
    async for piece in reader.content():
        value += piece
        if len(value) > limit:
            raise invalid(name, f"The value is larger than {limit} bytes.")
    return bytes(value)


def _names(head: str) -> tuple[str, str | None]:
    disposition = _DISPOSITION.search(head)
    found = {key.lower(): _unescaped(value) for key, value in _PARAMETER.findall(disposition[1] if disposition else "")}
    if "name" not in found:
        raise MalformedError
    return found["name"], found.get("filename")


def _unescaped(value: str) -> str:
    value = re.sub(r"\\(.)", r"\1", value)
    for escape, character in _ESCAPES.items():
        value = value.replace(escape, character)
    return value
