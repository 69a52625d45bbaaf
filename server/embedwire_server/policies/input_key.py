"""Identity of the result of an input."""

import asyncio
import hashlib
from collections.abc import Hashable

from embedwire_server.core.inputs import Content, FileSource, ImageInput, TextInput
from embedwire_server.media.in_memory import READ_BYTES
from embedwire_server.upstreams.base import EmbedCall


async def key_of(call: EmbedCall) -> Hashable | None:
    """Return the identity of the result of a text or an image with a file; None for other inputs.

    It contains everything that the result depends on, and the tenant and the credential, which share no results.
    """
    item, model = call.input, call.model
    content: Hashable
    if isinstance(item, TextInput):
        content = item.value, item.truncate
    elif isinstance(item, ImageInput) and isinstance(item.source, FileSource):
        file = item.source.content
        content = await asyncio.to_thread(_digest, file, await file.ready())
    else:
        return None
    selection = model.name, model.dimensions, model.endpoint, model.api_versions, call.has_uncertainty
    return call.tenant, call.credential, *selection, call.modality, content


def _digest(content: Content, size: int) -> bytes:
    digest = hashlib.sha256()
    for offset in range(0, size, READ_BYTES):
        digest.update(content.read_at(offset, READ_BYTES))
    return digest.digest()
