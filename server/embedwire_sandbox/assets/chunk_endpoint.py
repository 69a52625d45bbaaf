"""Handler of presigned URLs: `PUT` of one chunk, as an object store accepts it.

It needs no key, and refuses one: the real URLs lead to another party, which must not see it.
"""

import hashlib
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from embedwire_sandbox.assets.upload import Chunk, ChunkedUpload
from embedwire_sandbox.assets.upload_store import UploadStore
from embedwire_sandbox.calls import RECORDED_REQUEST
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.replies import send_empty
from embedwire_sandbox.resources import now, written_time

CHUNK_PATH: Final = "/sandbox/uploads"
_PARAMETER: Final = "X-Amz-Signature"


def chunk_url(request: web.Request, upload: ChunkedUpload, index: int, valid_sec: float) -> dict[str, Any]:
    """Return the object of a new presigned URL for a chunk, on the host of the request."""
    query = f"{_PARAMETER}={upload.grant(index, valid_sec)}"
    return {
        "chunk_index": index,
        "url": f"{request.url.origin()}{CHUNK_PATH}/{upload.id}/{index}?{query}",
        "expires_at": written_time(now() + timedelta(seconds=valid_sec)),
    }


class ChunkEndpoint:
    """Handler of presigned URLs.

    Args:
        gate: Checks that all operations share.
        uploads: The uploads.
    """

    def __init__(self, gate: Gate, uploads: UploadStore) -> None:
        self._gate = gate
        self._uploads = uploads

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Store a chunk; the response has its ETag in quotes."""
        request[RECORDED_REQUEST].resource_id = request.match_info["id"]
        if "x-api-key" in request.headers or "Authorization" in request.headers:
            return _refused(400, "InvalidRequest", "A presigned URL has to be used without a key.")
        upload = self._uploads.find(request.match_info["id"])
        index = int(request.match_info["index"])
        if upload is None or not upload.allows(index, request.query.get(_PARAMETER, "")):
            return _refused(403, "AccessDenied", "The URL is invalid, was used, or has expired.")
        size = upload.size_of(index)
        if request.content_length != size:
            return _refused(400, "IncompleteBody", f"The chunk has to have {size} bytes and a Content-Length.")
        digest = hashlib.md5(usedforsecurity=False)
        position = (index - 1) * upload.chunk_size
        async for piece in request.content.iter_any():
            digest.update(piece)
            upload.file.seek(position)
            upload.file.write(piece)  # a write to disk goes to the page cache: not worth a thread
            position += len(piece)
        fault = await self._gate.after_body(request)
        if upload.allows(index, request.query.get(_PARAMETER, "")):
            upload.receive(index, Chunk(digest.hexdigest(), size))
        return await send_empty(request, fault, status=200, headers={"ETag": f'"{digest.hexdigest()}"'})


def _refused(status: int, code: str, message: str) -> web.Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=body, content_type="application/xml")
