"""Handlers of `/assets/multipart-uploads`: create, status, more URLs, report of chunks, list."""

import asyncio
from typing import Any, Final

from aiohttp import web

from embedwire_sandbox.assets.asset import Asset
from embedwire_sandbox.assets.asset_store import AssetStore
from embedwire_sandbox.assets.chunk_endpoint import chunk_url
from embedwire_sandbox.assets.inspector import Inspector
from embedwire_sandbox.assets.upload import Chunk, ChunkedUpload
from embedwire_sandbox.assets.upload_store import UploadStore
from embedwire_sandbox.bodies.json_body import BodyLimits, JsonBody, read_json
from embedwire_sandbox.bodies.json_members import Members
from embedwire_sandbox.calls import RECORDED_REQUEST
from embedwire_sandbox.countdown import Countdown
from embedwire_sandbox.errors import invalid, missing, too_large
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.replies import send_json
from embedwire_sandbox.resources import new_id, now, page_of, written_time

_TYPES: Final = ("video", "audio", "image")
_MAX_IMAGE_BYTES: Final = 32_000_000
_MAX_URLS: Final = 50


class UploadEndpoint:
    """Handlers of uploads in chunks.

    Args:
        options: The options.
        gate: Checks that all operations share.
        uploads: The uploads.
        assets: Receives the complete ones.
        inspector: Inspects files.
    """

    def __init__(
        self, options: SandboxOptions, gate: Gate, uploads: UploadStore, assets: AssetStore, inspector: Inspector
    ) -> None:
        self._options = options
        self._gate = gate
        self._uploads = uploads
        self._assets = assets
        self._inspector = inspector
        self._limits = BodyLimits(options.max_field_bytes, 0, options.max_field_bytes)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Create an upload; 201, with its first presigned URLs.

        Raises:
            RefusalError: A parameter is invalid, or the file would be too large.
        """
        members = await self._members(request)
        fault = await self._gate.after_body(request)
        options = self._options
        filename = _required(members, "filename", members.string("filename"))
        kind = _required(members, "type", members.string("type", _TYPES))
        limit = _MAX_IMAGE_BYTES if kind == "image" else options.max_upload_bytes
        size = _required(members, "total_size", members.number("total_size"))
        if size < 1 or size != int(size):
            raise invalid("total_size", "It has to be a positive number of bytes.")
        if size > limit:
            raise too_large(limit)
        hls = members.boolean("enable_hls") or False
        members.boolean("enable_thumbnail")
        metadata = members.take("user_metadata")
        members.end()
        upload = ChunkedUpload(
            new_id(), new_id(), request.headers["x-api-key"], filename, int(size), options.chunk_bytes, now(),
            options.upload_sec, self._assets.file(), fault.failure, hls, metadata,
        )  # fmt: skip
        self._uploads.add(upload)
        request[RECORDED_REQUEST].resource_id = upload.id
        first = range(1, min(upload.total_chunks, options.first_chunk_urls) + 1)
        document = {
            "upload_id": upload.id,
            "asset_id": upload.asset_id,
            "upload_urls": self._urls(request, upload, first),
            "upload_headers": {},
            "chunk_size": upload.chunk_size,
            "total_chunks": upload.total_chunks,
            "expires_at": written_time(upload.expires_at),
        }
        return await send_json(request, fault, document, status=201)

    async def more_urls(self, request: web.Request) -> web.StreamResponse:
        """Return presigned URLs for further chunks.

        Raises:
            RefusalError: A parameter is invalid, or there is no such upload.
        """
        members = await self._members(request)
        fault = await self._gate.after_body(request)
        upload = self._uploads.active(request.headers["x-api-key"], request.match_info["id"])
        last = upload.total_chunks
        start = _required(members, "start", members.integer("start", range(1, last + 1)))
        count = _required(members, "count", members.integer("count", range(1, _MAX_URLS + 1)))
        members.end()
        urls = self._urls(request, upload, range(start, min(start + count, last + 1)))
        document = {
            "upload_id": upload.id,
            "start_index": start,
            "count": len(urls),
            "upload_urls": urls,
            "generated_at": written_time(now()),
            "expires_at": urls[-1]["expires_at"],
        }
        return await send_json(request, fault, document)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Accept the report of chunks; after the last one, the upload becomes an asset.

        Raises:
            RefusalError: A parameter is invalid, a proof is wrong, or there is no such upload.
        """
        members = await self._members(request)
        fault = await self._gate.after_body(request)
        upload = self._uploads.active(request.headers["x-api-key"], request.match_info["id"])
        chunks = _chunks(members, upload)
        new = sum(upload.report(index, chunk) for index, chunk in chunks)
        document: dict[str, Any] = {
            "asset_id": upload.asset_id,
            "processed_chunks": new,
            "duplicate_chunks": len(chunks) - new,
            "total_completed": len(upload.reported),
        }
        if len(upload.reported) == upload.total_chunks:
            document["url"] = f"{request.url.origin()}{request.path.partition('/assets')[0]}/assets/{upload.asset_id}"
            if not upload.completed:
                self._finish(upload)
        return await send_json(request, fault, document)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Return the status of an upload and of a page of its chunks.

        Raises:
            RefusalError: There is no such upload, or a parameter of the query is invalid.
        """
        fault = await self._gate.after_body(request)
        upload = self._uploads.get(request.headers["x-api-key"], request.match_info["id"])
        page, info = page_of(range(1, upload.total_chunks + 1), request.query)
        chunks = [{"index": index, "status": _chunk_status(upload, index)} for index in page]
        return await send_json(request, fault, {**upload.progress(), "uploaded_chunks": chunks, "page_info": info})

    async def list_page(self, request: web.Request) -> web.StreamResponse:
        """Return a page of the uploads of the key that are not complete.

        Raises:
            RefusalError: A parameter of the query is invalid.
        """
        fault = await self._gate.after_body(request)
        owner = request.headers["x-api-key"]
        page, info = page_of([upload for upload in self._uploads.incomplete if upload.owner == owner], request.query)
        return await send_json(request, fault, {"data": [upload.summary() for upload in page], "page_info": info})

    async def _members(self, request: web.Request) -> Members:
        with JsonBody() as body:
            await read_json(request, body, self._limits)
            request[RECORDED_REQUEST].parts = list(body.members)
            return Members(body.members)

    def _urls(self, request: web.Request, upload: ChunkedUpload, indexes: range) -> list[dict[str, Any]]:
        return [chunk_url(request, upload, index, self._options.chunk_url_sec) for index in indexes]

    def _finish(self, upload: ChunkedUpload) -> None:
        upload.completed = True
        upload.file.flush()
        content = Upload(upload.file, upload.total_size)
        asset = Asset(
            upload.asset_id,
            upload.owner,
            "multipart",
            upload.filename,
            now(),
            Countdown(self._options.asset_polls, self._options.asset_seconds),
            content,
            failure=upload.failure,
            enable_hls=upload.enable_hls,
            user_metadata=upload.user_metadata,
        )
        asset.fetching = asyncio.create_task(self._inspect(asset, content))
        self._assets.add(asset)

    async def _inspect(self, asset: Asset, content: Upload) -> None:
        asset.inspection = await self._inspector.inspect(content)


def _required(members: Members, name: str, value: Any) -> Any:  # noqa: ANN401
    if value is None:
        raise missing(members.path(name))
    return value


def _chunks(members: Members, upload: ChunkedUpload) -> list[tuple[int, Chunk]]:
    reported = members.objects("completed_chunks")
    members.end()
    if not reported:
        raise missing("completed_chunks")
    found = []
    for chunk in reported:
        index = _required(chunk, "chunk_index", chunk.integer("chunk_index", range(1, upload.total_chunks + 1)))
        proof = _required(chunk, "proof", chunk.string("proof"))
        _required(chunk, "proof_type", chunk.string("proof_type", ("etag",)))
        size = _required(chunk, "chunk_size", chunk.number("chunk_size"))
        chunk.end()
        found.append((index, Chunk(proof, int(size))))
    return found


def _chunk_status(upload: ChunkedUpload, index: int) -> str:
    return "completed" if index in upload.reported else "pending"
