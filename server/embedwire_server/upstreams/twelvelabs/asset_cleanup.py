"""Deletes assets: those of inputs that have ended, and those that a crash has left behind.

It runs in the background, so that a deletion delays no call. An asset whose task is still running is deleted when the
task has ended, since the effect of an earlier deletion is not documented; after the maximum age it is deleted anyway.
The cleanup job has the server's key only, so nothing else deletes the assets of callers' own keys.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator

import structlog

from embedwire_server.core.errors import GatewayError
from embedwire_server.core.inputs import TextInput
from embedwire_server.core.models import BUILT_IN, Model
from embedwire_server.core.results import ReplySummary
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.observability.metrics import Metrics
from embedwire_server.upstreams.base import EmbedCall, Emit, Job, Upstream
from embedwire_server.upstreams.twelvelabs.assets import AssetStore
from embedwire_server.upstreams.twelvelabs.polling import Poll
from embedwire_server.upstreams.twelvelabs.tasks import TaskUpstream

DELETE_ATTEMPTS = 5
NO_ASSETS = {404, 405, 410, 501}  # of an upstream that has no assets, such as a server for the v1 API only
# The most inputs whose assets are followed at a time; further assets are left to the cleanup job.
MAX_FOLLOWED = 1000
LONGEST_PAUSE = 60.0
FIND_SECONDS = 5.0  # until an asset whose creation was not confirmed is looked for: it may still be created
DELETE_SECONDS = 300.0  # for all attempts to delete one asset
STOP_SECONDS = 5.0  # for deletions in progress when the server stops
START_SECONDS = 10.0  # the longest delay of the first run, so that a short-lived server makes no request for it

log = structlog.get_logger(__name__)


class AssetCleanup:
    """Deletes assets that are no longer needed.

    Args:
        assets: the assets.
        tasks: the tasks that may use them.
        metrics: count the deletions, and the assets that could not be deleted.
        max_age: seconds after which the cleanup job deletes an asset of this deployment.
        interval: seconds between two runs of the cleanup job.
    """

    def __init__(
        self, assets: AssetStore, tasks: TaskUpstream, metrics: Metrics, max_age: float, interval: float
    ) -> None:
        self._assets = assets
        self._tasks = tasks
        self._metrics = metrics
        self._max_age = max_age
        self._interval = interval
        self._following: set[asyncio.Task[None]] = set()

    def release(self, call: EmbedCall) -> None:
        """Delete the asset of an input that has ended, in the background, once its task has ended."""
        job = call.job
        if job is None or not job.asset_name:
            return
        is_job_enough = call.credential is None
        is_unconfirmed = job.is_task_requested and not job.task_id  # a task may use it, and cannot be asked for
        is_full = len(self._following) >= MAX_FOLLOWED
        if is_full and not is_job_enough:
            self._failed(job.asset_id or job.asset_name, "too many deletions are in progress")
        if is_full or (is_job_enough and (is_unconfirmed or not job.asset_id)):
            self._assets.in_use.discard(job.asset_id)
            return
        following = asyncio.create_task(self._follow(_background_call(call.model, call.credential), job))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    @contextlib.asynccontextmanager
    async def running(self, *, has_job: bool) -> AsyncGenerator[None]:
        """Run the cleanup job; at the end, give the deletions in progress some seconds.

        Args:
            has_job: whether there is a key for the cleanup job; the keys of callers are not kept for it.
        """
        cleaning = asyncio.create_task(self._clean_repeatedly() if has_job else asyncio.sleep(0))
        try:
            yield
        finally:
            cleaning.cancel()
            if self._following:
                await asyncio.wait(self._following, timeout=STOP_SECONDS)
            for task in (*self._following, cleaning):
                task.cancel()
            await asyncio.wait((*self._following, cleaning))

    async def clean(self) -> None:
        """Delete all assets of this deployment that are older than the maximum age and that no input here uses.

        Raises:
            GatewayError: they cannot be listed.
        """
        call = _background_call(BUILT_IN[0], None)
        oldest = time.time() - self._max_age
        old = [asset.id async for asset in self._assets.list(call) if asset.created < oldest]
        for asset_id in old:
            if asset_id not in self._assets.in_use:
                await self._delete(call, asset_id)

    async def _clean_repeatedly(self) -> None:
        await asyncio.sleep(min(START_SECONDS, self._interval))
        while True:
            try:
                await self.clean()
            except GatewayError as failure:
                if failure.upstream is None or failure.upstream.http_status not in NO_ASSETS:
                    log.warning("assets cannot be listed for deletion", reason=failure.reason, message=failure.message)
            except Exception as error:  # noqa: BLE001 - the next run may succeed
                log_unexpected(error)
            await asyncio.sleep(self._interval)

    async def _follow(self, call: EmbedCall, job: Job) -> None:
        """Wait for the end of a task, at most for the maximum age, then delete its asset."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._max_age):
                    await self._task_end(call, job)
            asset_id = job.asset_id or await self._found(call, job.asset_name)
            if asset_id:
                await self._delete(call, asset_id)
        except asyncio.CancelledError:
            if call.credential is not None:
                self._failed(job.asset_id or job.asset_name, "the server stops")
            raise
        except GatewayError as failure:
            self._failed(job.asset_name, failure.reason)
        except Exception as error:  # noqa: BLE001 - nothing awaits this
            log_unexpected(error)
            self._failed(job.asset_id or job.asset_name, "internal error")
        finally:
            self._assets.in_use.discard(job.asset_id)

    async def _found(self, call: EmbedCall, name: str) -> str:
        """Return the identifier of an asset whose creation was not confirmed; empty if it does not exist.

        Raises:
            GatewayError: the assets cannot be listed.
        """
        await asyncio.sleep(FIND_SECONDS)
        async for asset in self._assets.list(call):
            if asset.file_name == name:
                return asset.id
        return ""

    async def _task_end(self, call: EmbedCall, job: Job) -> None:
        """Wait for the end of a task. One that cannot be asked for seems to be running forever."""
        if job.is_task_ended or not job.is_task_requested:
            return
        poll = Poll(call, LONGEST_PAUSE)
        while job.task_id:
            try:
                if await poll.attempt(lambda: self._tasks.has_ended(call, job)):
                    return
            except GatewayError as failure:
                log.warning("a task cannot be asked for", task=job.task_id, reason=failure.reason)
                break
            await poll.pause()
        await asyncio.Event().wait()

    async def _delete(self, call: EmbedCall, asset_id: str) -> None:
        """Delete an asset, with retries; count and log one that cannot be deleted."""
        poll = Poll(call)
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                for attempt in range(DELETE_ATTEMPTS):
                    if attempt:
                        await poll.pause()
                    if await poll.attempt(lambda: self._assets.delete(call, asset_id)) is not None:
                        self._metrics.assets_deleted.inc()
                        return
        except TimeoutError:
            pass
        except GatewayError as failure:
            self._failed(asset_id, failure.reason)
            return
        self._failed(asset_id, "the upstream was not available")

    def _failed(self, asset_id: str, reason: str) -> None:
        self._metrics.asset_deletions_failed.inc()
        log.warning("an asset cannot be deleted", asset=asset_id, reason=reason)


class AssetReleasePolicy:
    """Middleware that releases the asset of an input when the input has ended, in whatever way; see `Upstream`."""

    def __init__(self, upstream: Upstream, cleanup: AssetCleanup) -> None:
        self._upstream = upstream
        self._cleanup = cleanup

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input; see `Upstream`."""
        try:
            return await self._upstream.embed(call, emit)
        finally:
            if call.job is not None:
                self._cleanup.release(call)


def _background_call(model: Model, credential: str | None) -> EmbedCall:
    """Return a call for requests that belong to no input: it holds no content."""
    return EmbedCall(TextInput("", ""), model, math.inf, credential=credential)
