"""Reads the multipart form of a request, and spools its files.

Everything that the SDK was recorded to send is accepted (upstream API notes, sections 8 and 10): any order of the
parts, parts without a content type, file parts without a file name, raw UTF-8 file names with `"` as `%22`, bodies
with a length or chunked. Of a repeated name the first part counts. A part is a file because of its name, never
because of its headers.
"""

import re
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Final, Self

from aiohttp import web

from embedwire_sandbox.errors import invalid, malformed_form, too_large, wrong_content_type
from embedwire_sandbox.media.upload import Upload, spool
from embedwire_sandbox.models import MODALITIES, Modality
from embedwire_sandbox.multipart import BodySizeError, MalformedError, Multipart, boundary_of

FILE_PARTS: Final = ("image_file", "audio_file")
FIELD_PARTS: Final = ("model_name", "text", "text_truncate", "image_url", "audio_url", "audio_start_offset_sec")

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

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities to embed. An empty URL part does not count; an empty text part does."""
        return tuple(
            modality
            for modality in MODALITIES
            if (modality == "text" and "text" in self.fields)
            or f"{modality}_file" in self.files
            or self.fields.get(f"{modality}_url")
        )


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits in bytes for one field, one file and the whole body."""

    field: int
    file: int
    body: int


async def read_form(request: web.Request, form: Form, limits: FormLimits) -> None:
    """Fill `form` with the parts of the request.

    Args:
        request: The request, its body unread.
        form: An empty form, already entered, so that its files are always closed.
        limits: The limits.

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
            await _read_part(head, reader, form, limits)
    except BodySizeError:
        raise too_large(limits.body) from None
    except MalformedError:
        raise malformed_form() from None


async def _read_part(head: str, reader: Multipart, form: Form, limits: FormLimits) -> None:
    name, filename = _names(head)
    form.names.append(name)
    if len(form.names) > _MAX_PARTS:
        raise MalformedError
    if name in FILE_PARTS and name not in form.files:
        file = spool()
        form.files[name] = Upload(file, 0, filename)  # the form closes it from now on
        form.files[name] = Upload(file, await _spool(name, reader, file, limits.file), filename)
    elif name in FIELD_PARTS and name not in form.fields:
        form.fields[name] = await _field(name, reader, limits.field)


async def _field(name: str, reader: Multipart, limit: int) -> bytes:
    value = bytearray()
    async for piece in reader.content():
        value += piece
        if len(value) > limit:
            raise invalid(name, f"The value is larger than {limit} bytes.")
    return bytes(value)


async def _spool(name: str, reader: Multipart, file: IO[bytes], limit: int) -> int:
    size = 0
    async for piece in reader.content():
        size += len(piece)
        if size > limit:
            raise invalid(name, f"The file is larger than {limit} bytes.")
        file.write(piece)  # a write to disk goes to the page cache: not worth a thread
    file.seek(0)
    return size


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
