"""Routes of the API, and the resources behind them."""

from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from embedwire_sandbox.assets.asset_endpoint import AssetEndpoint
from embedwire_sandbox.assets.asset_store import AssetStore
from embedwire_sandbox.assets.chunk_endpoint import CHUNK_PATH, ChunkEndpoint
from embedwire_sandbox.assets.inspector import Inspector
from embedwire_sandbox.assets.upload_endpoint import UploadEndpoint
from embedwire_sandbox.assets.upload_store import UploadStore
from embedwire_sandbox.calls import OPERATIONS, Operation
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.media.background import Threads
from embedwire_sandbox.media.fetch import Fetcher
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.v1.embedder import Embedder as EmbedderV1
from embedwire_sandbox.v1.endpoint import EmbedEndpoint as EmbedEndpointV1
from embedwire_sandbox.v2.embedder import Embedder
from embedwire_sandbox.v2.endpoint import EmbedEndpoint
from embedwire_sandbox.v2.sources import Sources
from embedwire_sandbox.v2.task_endpoint import TaskEndpoint
from embedwire_sandbox.v2.task_store import TaskStore


class Resources:
    """Assets, tasks and uploads of a sandbox.

    Args:
        options: The options.

    Attributes:
        assets: The assets.
        tasks: The tasks.
        uploads: The uploads in chunks.
    """

    def __init__(self, options: SandboxOptions) -> None:
        self.assets = AssetStore()
        self.tasks = TaskStore(outlives_asset=options.task_outlives_asset)
        self.uploads = UploadStore()
        self.assets.on_delete = self.tasks.asset_deleted

    async def close(self) -> None:
        """Delete everything, and end its work."""
        await self.tasks.close()
        self.uploads.close()
        await self.assets.close()

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return all resources, of all keys, without their content."""
        return {
            "assets": [
                {"id": asset.id, "filename": asset.filename, "method": asset.method, "status": asset.status}
                for asset in self.assets.live
            ],
            "tasks": [
                {
                    "id": task.id,
                    "model_name": task.common.limits.model.name,
                    "status": task.status,
                    "asset_id": task.asset_id,
                }
                for task in self.tasks.live
            ],
            "uploads": [upload.summary() for upload in self.uploads.incomplete],
        }


def v1_routes(
    base: str, options: SandboxOptions, gate: Gate, fetcher: Fetcher, stack: AsyncExitStack
) -> list[web.RouteDef]:
    """Return the routes of the v1 dialect; the stack closes what is behind them."""
    embedder = EmbedderV1(options, fetcher)
    stack.callback(embedder.close)
    endpoint = EmbedEndpointV1(options, gate, embedder)
    return [web.post(f"{base}/embed", endpoint.handle, name="embed")]


def v2_routes(  # noqa: PLR0913, PLR0917
    base: str,
    options: SandboxOptions,
    gate: Gate,
    fetcher: Fetcher,
    resources: Resources,
    stack: AsyncExitStack,
) -> list[web.RouteDef]:
    """Return the routes of the v2 dialect and of assets; the stack closes what is behind them."""
    threads = Threads(1)
    stack.callback(threads.close)
    sources = Sources(resources.assets, fetcher)
    embedder = Embedder(options, sources)
    stack.callback(embedder.close)
    stack.push_async_callback(resources.close)
    inspector = Inspector(threads, options.max_audio_samples)
    embed = EmbedEndpoint(options, gate, embedder)
    task = TaskEndpoint(options, gate, resources.tasks, sources, embedder)
    asset = AssetEndpoint(options, gate, resources.assets, inspector, fetcher)
    upload = UploadEndpoint(options, gate, resources.uploads, resources.assets, inspector)
    chunk = ChunkEndpoint(gate, resources.uploads)
    tasks, assets = f"{base}/embed-v2/tasks", f"{base}/assets"
    uploads = f"{assets}/multipart-uploads"
    return [
        web.post(f"{base}/embed-v2", embed.handle, name="embed_v2"),
        web.post(tasks, task.create, name="task_create"),
        web.get(tasks, task.list_page, name="task_list"),
        web.get(f"{tasks}/{{id}}", task.retrieve, name="task_poll"),
        web.post(uploads, upload.create, name="upload_create"),
        web.get(uploads, upload.list_page, name="upload_list"),
        web.post(f"{uploads}/{{id}}", upload.complete, name="upload_complete"),
        web.get(f"{uploads}/{{id}}", upload.status, name="upload_status"),
        web.post(f"{uploads}/{{id}}/presigned-urls", upload.more_urls, name="upload_urls"),
        web.post(assets, asset.create, name="asset_create"),
        web.get(assets, asset.list_page, name="asset_list"),
        web.get(f"{assets}/{{id}}", asset.retrieve, name="asset_poll"),
        web.delete(f"{assets}/{{id}}", asset.delete, name="asset_delete"),
        web.put(f"{CHUNK_PATH}/{{id}}/{{index:[0-9]{{1,6}}}}", chunk.put, name="chunk"),
    ]


def operation_of(request: web.Request) -> Operation | None:
    """Return the operation of a request, or `None` if the API does not have its path and method."""
    name = request.match_info.route.name
    return next((operation for operation in OPERATIONS if operation == name), None)
