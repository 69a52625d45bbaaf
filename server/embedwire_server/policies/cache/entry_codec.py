"""Form of an entry outside of this process.

Bytes: version (1), key (32), size of the header (4, little-endian), header (JSON), vectors, checksum (32). The header
has the fields of the entry, and sizes in place of vectors. The checksum is the SHA-256 hash of everything before it. It
protects against damage, not against others that can write to the store.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from embedwire_server.policies.cache.entry import CachedSegment, Entry

_VERSION = b"\x01"  # changes with the form, and with the meaning of a field
_SIZE_BYTES = 4
_CHECKSUM_BYTES = 32


class InvalidEntryError(Exception):
    """The bytes are no entry of this version for this key."""


def encode(key: bytes, entry: Entry) -> bytes:
    """Encode an entry for a key."""
    vectors: list[bytes] = []
    described: list[Any] = []
    for vector, *fields, uncertainty in entry.segments:
        vectors += [vector, uncertainty or b""]
        described.append([len(vector), *fields, None if uncertainty is None else len(uncertainty)])
    header = json.dumps([described, *entry[1:]], separators=(",", ":")).encode()
    content = b"".join([_VERSION, key, len(header).to_bytes(_SIZE_BYTES, "little"), header, *vectors])
    return content + hashlib.sha256(content).digest()


def decode(key: bytes, data: bytes) -> Entry:
    """Decode the entry for a key.

    Raises:
        InvalidEntryError: the bytes are damaged, or belong to another key or version.
    """
    content, start = data[:-_CHECKSUM_BYTES], _VERSION + key
    if not content.startswith(start) or hashlib.sha256(content).digest() != data[-_CHECKSUM_BYTES:]:
        raise InvalidEntryError
    begin = len(start) + _SIZE_BYTES
    end = begin + int.from_bytes(content[len(start) : begin], "little")
    try:
        described, *fields, tokens = json.loads(content[begin:end])
        segments = _segments(described, content[end:])
        return Entry._make([segments, *fields, None if tokens is None else tuple(map(tuple, tokens))])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEntryError from error


def _segments(described: Sequence[Sequence[Any]], vectors: bytes) -> tuple[CachedSegment, ...]:
    """Return the segments, whose vectors follow each other."""
    found, at = [], 0
    for size, *fields, uncertainty_size in described:
        middle = at + size
        end = middle + (uncertainty_size or 0)
        uncertainty = None if uncertainty_size is None else vectors[middle:end]
        found.append(CachedSegment._make([vectors[at:middle], *fields, uncertainty]))
        at = end
    return tuple(found)
