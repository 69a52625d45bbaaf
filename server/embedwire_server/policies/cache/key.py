"""Content-addressed key of an input: inputs with the same key have the same result.

The key is the SHA-256 hash of everything that decides the result, and of the tenant and the credential, which separate
callers. The lengths of the parts come before them, so that no two combinations of parts have the same encoding.
"""

import asyncio
import functools
import hashlib
import struct

from embedwire_server.config.settings import Settings
from embedwire_server.core.inputs import AudioInput, Content, FileSource, Input, Source, TextInput, UrlSource
from embedwire_server.core.models import Model
from embedwire_server.upstreams.base import EmbedCall

MAX_HASHED_BYTES = 64 << 20  # larger files have no key: hashing them costs more than 0.1 s of a core
_FORMAT = b"1"  # changes with the meaning of the parts
_INLINE_BYTES = 16 << 10  # a larger file is hashed in a thread: a hash of this size takes 10 to 40 µs
_READ_BYTES = 256 << 10
_MAX_SHARED = 1024  # hashes of the shared parts


class ResultKeys:
    """Computes keys.

    Args:
        base_url: base URL of the upstream.
        credential: the server's own credential for the upstream; None without one.
        has_urls: whether URL sources have a key, by the text of the URL.
    """

    def __init__(self, base_url: str, credential: str | None, *, has_urls: bool = False) -> None:
        self._upstream = _encoded(_FORMAT, base_url.encode())
        self._own_credential = _of_credential(credential)
        self._has_urls = has_urls
        # By the identity of the model, which stays unique while the model is kept: comparing rows takes longer.
        self._hashes: dict[tuple[int, str | None, str, bool], tuple[hashlib._Hash, Model]] = {}

    def reconfigure(self, settings: Settings) -> None:
        """Apply `cache.urls` of these settings."""
        self._has_urls = settings.cache.urls

    async def of(self, call: EmbedCall) -> bytes | None:
        """Return the key of an input, 32 bytes; does not suspend for texts and small files.

        None if its result must not be reused: assets, tasks, URLs unless they are configured, and files that are larger
        than `MAX_HASHED_BYTES` or cannot be read.

        Raises:
            GatewayError: the file will never be complete; see `Content.ready`.
        """
        if call.result_key is None:
            call.result_key = await self._compute(call)
        return call.result_key

    async def _compute(self, call: EmbedCall) -> bytes | None:
        item = call.input
        if isinstance(item, TextInput):
            content = item.value.encode()
        else:
            found = await self._media(item.source)
            if found is None:
                return None
            content = found
        digest = self._shared(call).copy()
        digest.update(_encoded(_parameters(item), content))
        return digest.digest()

    def _shared(self, call: EmbedCall) -> "hashlib._Hash":
        """Return the hash of the parts that many inputs share; they take three quarters of the time of a key."""
        name = id(call.model), call.credential, call.tenant, call.has_uncertainty
        known = self._hashes.get(name)
        if known is None:
            if len(self._hashes) >= _MAX_SHARED:  # callers may send any number of credentials
                self._hashes.clear()
            known = self._hashes[name] = self._hash_of_shared(call), call.model
        return known[0]

    def _hash_of_shared(self, call: EmbedCall) -> "hashlib._Hash":
        own = call.credential
        parts = _encoded(
            self._own_credential if own is None else _of_credential(own),
            call.tenant.encode(),
            _of_model(call.model),
            b"u" if call.has_uncertainty else b"",
        )
        return hashlib.sha256(self._upstream + parts)

    async def _media(self, source: Source) -> bytes | None:
        if isinstance(source, UrlSource):
            return _encoded(b"url", source.url.encode()) if self._has_urls else None
        if not isinstance(source, FileSource):
            return None
        digest = await _of_content(source.content)
        return None if digest is None else _encoded(b"file", source.media_type.encode(), digest)


def _encoded(*parts: bytes) -> bytes:
    """Return the number of parts, their lengths, and the parts."""
    return b"".join((struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts)), *parts))


def _of_credential(credential: str | None) -> bytes:
    return b"" if credential is None else hashlib.sha256(credential.encode()).digest()


@functools.lru_cache(256)
def _of_model(model: Model) -> bytes:
    """Return a hash of the row: it decides the endpoint, the version of the API, and what is sent by default."""
    return hashlib.sha256(repr(model).encode()).digest()


def _parameters(item: Input) -> bytes:
    """Return the modality and all parameters of an input."""
    if isinstance(item, TextInput):
        return b"text" if item.truncate is None else f"text {item.truncate}".encode()
    if not isinstance(item, AudioInput):
        return b"image"
    window = item.segmentation and (item.segmentation.method, item.segmentation.seconds)
    offsets = item.start_offset_sec, item.end_offset_sec
    return repr(("audio", *offsets, window, item.options, item.scopes, item.types, item.mode.value)).encode()


async def _of_content(content: Content) -> bytes | None:
    """Return the hash of a file; None if it is too large, or cannot be read."""
    size = await content.ready()
    if size > MAX_HASHED_BYTES:
        return None
    try:
        if size <= _INLINE_BYTES:
            return _hash(content, size)
        return await asyncio.to_thread(_hash, content, size)
    except OSError:  # the upstream request reads it again, and reports the failure
        return None


def _hash(content: Content, size: int) -> bytes:
    """Return the hash of a file, read in pieces."""
    found = hashlib.sha256()
    for offset in range(0, size, _READ_BYTES):
        found.update(content.read_at(offset, _READ_BYTES))
    return found.digest()
