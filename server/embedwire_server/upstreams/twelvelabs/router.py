"""The innermost `Upstream`: sends each input by the route that suits it."""

from embedwire_server.core.inputs import AudioInput, FileSource, TaskSource, content_of
from embedwire_server.core.models import ApiVersion
from embedwire_server.core.results import ReplySummary
from embedwire_server.media.duration import duration_of
from embedwire_server.upstreams.base import EmbedCall, Emit, Job
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.upstream import HttpUpstream
from embedwire_server.upstreams.twelvelabs.assets import AssetStore
from embedwire_server.upstreams.twelvelabs.route import Route, Upload, route
from embedwire_server.upstreams.twelvelabs.tasks import TaskUpstream
from embedwire_server.upstreams.twelvelabs.v1 import V1Dialect
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect


class Router:
    """Sends inputs to the v1 or v2 endpoint, synchronously or as tasks.

    Args:
        client: sends the requests.
        v1: dialect of the v1 endpoint.
        v2: dialect of the v2 endpoints.
        assets: files that the upstream keeps.
        tasks: tasks of the upstream.
    """

    def __init__(
        self, client: HttpClient, v1: V1Dialect, v2: V2Dialect, assets: AssetStore, tasks: TaskUpstream
    ) -> None:
        self.client = client
        self._v1 = HttpUpstream(client, v1)
        self._v2 = HttpUpstream(client, v2)
        self._assets = assets
        self._tasks = tasks

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt; see `Upstream`. What the upstream keeps for the input is in `call.job`, across attempts."""
        item = call.input
        content = content_of(item)
        size = 0 if content is None else await content.ready()
        seconds = None
        if isinstance(item, AudioInput) and content is not None:
            with call.time("queue"):
                seconds = await duration_of(content)
        chosen = route(item, call.model, size, seconds)
        if chosen.version is ApiVersion.V1:
            return await self._v1.embed(call, emit)
        if chosen.is_task or chosen.upload is not Upload.NONE:
            call.job = call.job or Job(uses_task=chosen.is_task)
            return await self._with_job(call, call.job, chosen, size, emit)
        return await self._v2.embed(call, emit)

    async def _with_job(self, call: EmbedCall, job: Job, chosen: Route, size: int, emit: Emit) -> ReplySummary:
        """Embed an input of which the upstream keeps something."""
        source = call.input.source if isinstance(call.input, AudioInput) else None
        if isinstance(source, TaskSource):
            job.task_id = source.id
        if isinstance(source, FileSource) and chosen.upload is not Upload.NONE:
            await self._assets.provide(call, source, job, chosen.upload, size)
        if chosen.is_task:
            return await self._tasks.embed(call, job, emit)
        return await self._v2.embed(call, emit)
