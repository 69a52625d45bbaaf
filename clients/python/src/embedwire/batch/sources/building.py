"""Records of texts, bytes, files and URLs, with their versions."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from embedwire import options
from embedwire.batch.records import InvalidRecord, Modality, Record
from embedwire.batch.sources import files
from embedwire.batch.sources.files import Entry, Store
from embedwire.inputs import Audio, Image, Text

MAX_KEY_BYTES = 1024
# Maximum size of a file or line that is held in memory; more than a server accepts as one text.
MAX_TEXT_BYTES = 16 << 20

_BLOCK_BYTES = 1 << 20
_MEDIA: dict[str, type[Image | Audio]] = {"image": Image, "audio": Audio}


class Fault(Exception):
    """An entry of a source is no input. The message names the field and how to correct it, without content."""


def key_fault(key: str) -> str:
    """Return why this is no key; empty if it is one."""
    if not key:
        return "key: must not be empty"
    if not options.is_utf8(key):
        return "key: must be valid UTF-8"
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"key: must have at most {MAX_KEY_BYTES} bytes of UTF-8, has {len(key.encode())}"
    return ""


def invalid(key: str, message: str) -> InvalidRecord:
    """Return the record of an entry that is no input; its key is shortened and escaped to be one."""
    safe = key.encode(errors="backslashreplace")[:MAX_KEY_BYTES].decode(errors="ignore")
    return InvalidRecord(safe, message)


def of_text(key: str, text: str, arguments: Mapping[str, Any]) -> Record:
    """Return the record of a text.

    Args:
        key: its key.
        text: the text.
        arguments: further arguments of `Text`.

    Raises:
        Fault: the text is empty or not valid UTF-8.
    """
    if not text.strip():
        raise Fault("text: must not be empty")
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise Fault("text: must be valid UTF-8") from None
    return Record(key, Text(text, **arguments), len(content), _version(_hash(content), arguments))


def of_bytes(key: str, modality: Modality, content: bytes, arguments: Mapping[str, Any]) -> Record:
    """Return the record of an image or audio in memory, or of an encoded text.

    Args:
        key: its key.
        modality: its modality.
        content: the content.
        arguments: further arguments of the input.

    Raises:
        Fault: the content is empty, or a text is not UTF-8.
    """
    if not content:
        raise Fault(f"{modality}: must not be empty")
    if modality == "text":
        return of_text(key, decoded(content), arguments)
    return Record(key, _MEDIA[modality](data=content, **arguments), len(content), _version(_hash(content), arguments))


def of_url(key: str, modality: Modality, url: str, arguments: Mapping[str, Any]) -> Record:
    """Return the record of an http or https URL, which the upstream fetches.

    Args:
        key: its key.
        modality: its modality.
        url: the URL.
        arguments: further arguments of the input.

    Raises:
        Fault: it is a text: the upstream fetches images and audio only.
    """
    if modality == "text":
        raise Fault("text: the upstream fetches images and audio only; give the text or a file")
    version = _version(_hash(url.encode(errors="replace")), arguments)
    return Record(key, _MEDIA[modality](url=url, **arguments), 0, version)


def of_file(
    key: str, modality: Modality, file: tuple[Store, Entry], arguments: Mapping[str, Any], *, checksum: bool
) -> Record:
    """Return the record of a file. A text is read now, other files when they are sent.

    Args:
        key: its key.
        modality: its modality.
        file: where the file is, and its attributes.
        arguments: further arguments of the input.
        checksum: whether the version is a hash of the content in place of size and time.

    Raises:
        Fault: the file is empty, or it cannot be read.
        OSError: the store cannot be read.
    """
    store, entry = file
    try:
        _check(modality, entry)
        if modality == "text":
            return of_text(key, _text(store, entry), arguments)
        version = _file_hash(store, entry) if checksum else entry.version
        media = _MEDIA[modality](**store.content(entry), **arguments)
        return Record(key, media, entry.size or 0, _version(version, arguments))
    except OSError as error:
        raise unreadable(modality, error) from None


def unreadable(modality: Modality, error: OSError) -> Exception:
    """Return the fault of a file that cannot be read; the error itself if it concerns other files as well."""
    if not files.is_fault_of_file(error):
        return error
    return Fault(f"{modality}: cannot be read: {files.reason(error)}")


def decoded(content: bytes) -> str:
    """Return UTF-8 as a string, without a byte order mark.

    Raises:
        Fault: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Fault("text: must be valid UTF-8") from None


def _check(modality: Modality, entry: Entry) -> None:
    if entry.error is not None:
        raise entry.error
    if entry.kind != "file":
        raise Fault(f"{modality}: must be a regular file")
    if entry.size == 0:
        raise Fault(f"{modality}: the file must not be empty")


def _text(store: Store, entry: Entry) -> str:
    """Return the text of a file, without the line end after it."""
    with store.open(entry.path) as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise Fault(f"text: the file must have at most {MAX_TEXT_BYTES} bytes; split it")
    return decoded(content).removesuffix("\n").removesuffix("\r")


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _file_hash(store: Store, entry: Entry) -> str:
    found = hashlib.blake2b(digest_size=16)
    with store.open(entry.path) as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def _version(content: str, arguments: Mapping[str, Any]) -> str:
    """Return the version of a content with arguments, which are part of it except the file name."""
    changing = {name: value for name, value in arguments.items() if name != "file_name"}
    return f"{content}-{_hash(json.dumps(changing, sort_keys=True).encode())}" if changing else content
