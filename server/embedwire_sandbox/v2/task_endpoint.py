"""Handlers of `/embed-v2/tasks`: create, list, retrieve."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web

from embedwire_sandbox.bodies.json_body import BodyLimits, JsonBody, read_json
from embedwire_sandbox.bodies.json_members import Members
from embedwire_sandbox.calls import RECORDED_REQUEST
from embedwire_sandbox.countdown import Countdown
from embedwire_sandbox.errors import MediaError, RefusalError, invalid
from embedwire_sandbox.faults.injection import InjectedFault
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.replies import send, send_json
from embedwire_sandbox.resources import new_id, now, page_of, time_of
from embedwire_sandbox.v2.audio_items import DurationError
from embedwire_sandbox.v2.audio_parameters import AudioParameters, read_audio
from embedwire_sandbox.v2.embedder import Embedder
from embedwire_sandbox.v2.parameters import Common, modalities_of, read_common, read_input_type
from embedwire_sandbox.v2.result import Embeddings, pieces
from embedwire_sandbox.v2.sources import Sources
from embedwire_sandbox.v2.task import Task, TaskFailure
from embedwire_sandbox.v2.task_store import SOURCE_GONE, TaskStore

_INPUT_TYPES: Final = ("audio", "video", "document", "image")
_STATUSES: Final = ("processing", "ready", "failed")
_BAD_MEDIA: Final = "We could not process your media for embedding. Please verify the input file and try again."
_BAD_REQUEST: Final = "The embedding request was invalid."
_LONGEST_WAIT_SEC: Final = 5.0
_MB: Final = 1_000_000


class TaskEndpoint:
    """Handlers of tasks.

    Args:
        options: The options.
        gate: Checks that all operations share.
        store: The tasks.
        sources: Opens media sources.
        embedder: Computes the embeddings.
    """

    def __init__(
        self, options: SandboxOptions, gate: Gate, store: TaskStore, sources: Sources, embedder: Embedder
    ) -> None:
        self._options = options
        self._gate = gate
        self._store = store
        self._sources = sources
        self._embedder = embedder
        self._limits = BodyLimits(options.max_field_bytes, options.max_file_bytes, options.max_body_bytes)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Create a task; 202. The media are checked later.

        Raises:
            RefusalError: A parameter is invalid, or an asset does not exist or is not ready.
        """
        recorded = request[RECORDED_REQUEST]
        owner = request.headers["x-api-key"]
        with JsonBody() as body:
            await read_json(request, body, self._limits)
            recorded.parts, recorded.modalities = list(body.members), modalities_of(body.members)
            fault = await self._gate.after_body(request)
            audio, common = _parameters(body.members)
            self._sources.check(audio.source, owner)
            task = self._start(audio, common, owner, fault, body)
        recorded.resource_id = task.id
        document: dict[str, Any] = {"_id": task.id, "status": "processing", "data": None}
        if common.limits.is_newer:
            document["metadata"] = {"embedding_dimension": common.dimension}
        location = f"{request.url.origin()}{request.path}/{task.id}"
        return await send_json(request, fault, document, status=202, headers={"Location": location})

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Return a task, and count the poll.

        Raises:
            RefusalError: 404, nested.
        """
        task = self._store.get(request.headers["x-api-key"], request.match_info["id"])
        request[RECORDED_REQUEST].modalities = ("audio",)
        fault = await self._gate.after_body(request)
        status = await task.poll(_LONGEST_WAIT_SEC)
        head = task.head(status)
        if status != "ready" or not task.embeddings:
            return await send_json(request, fault, head)
        return await send(request, fault, pieces(task.embeddings, fault, head), stream=True)

    async def list_page(self, request: web.Request) -> web.StreamResponse:
        """Return a page of the tasks of the key, newest first.

        Raises:
            RefusalError: A parameter of the query is invalid.
        """
        fault = await self._gate.after_body(request)
        query = request.query
        status = query.get("status")
        if status is not None and status not in _STATUSES:
            raise invalid("status", f"You should use one of the following values: {', '.join(_STATUSES)}.")
        started, ended = time_of(query, "started_at"), time_of(query, "ended_at")
        found = [
            task
            for task in self._store.of(request.headers["x-api-key"])
            if (status is None or task.status == status)
            and (started is None or task.created_at >= started)
            and (ended is None or task.created_at <= ended)
        ]
        page, info = page_of(found, query)
        return await send_json(request, fault, {"data": [task.summary() for task in page], "page_info": info})

    def _start(self, audio: AudioParameters, common: Common, owner: str, fault: InjectedFault, body: JsonBody) -> Task:
        stack = AsyncExitStack()
        if (upload := audio.source.upload) is not None:
            body.files.remove(upload)  # the task closes it from now on
            stack.callback(upload.file.close)
        options = self._options
        task = Task(
            new_id(),
            owner,
            audio,
            common,
            now(),
            time.monotonic() + options.task_expiry_sec,
            Countdown(options.task_polls, options.task_seconds),
            asyncio.create_task(self._work(audio, common, owner, stack)),
            failure=fault.failure or options.task_failure,
        )
        self._store.add(task)
        return task

    async def _work(
        self, audio: AudioParameters, common: Common, owner: str, stack: AsyncExitStack
    ) -> Embeddings | TaskFailure:
        async with stack:
            try:
                upload = await self._sources.open(audio.source, owner, stack)
            except RefusalError:
                return TaskFailure(SOURCE_GONE)
            try:
                return await self._embedder.embed_task(audio, common, upload)
            except DurationError as bad:
                return TaskFailure(bad.message)
            except MediaError:
                return TaskFailure(_BAD_MEDIA)
            except RefusalError:
                return TaskFailure(_BAD_REQUEST)


def _parameters(body: dict[str, object]) -> tuple[AudioParameters, Common]:
    members = Members(body)
    common = read_common(members)
    kind, given = read_input_type(members, _INPUT_TYPES)
    members.end()
    if kind in {"document", "image"} and not common.limits.is_newer:
        raise invalid("input_type", f"The input_type {kind} requires marengo3.5.")
    if kind != "audio":
        raise invalid("input_type", f"The sandbox has no tasks of the input_type {kind}.")
    audio = read_audio(given, common.limits, task=True)
    if common.uncertainty and "asset" in audio.scopes:
        raise invalid("audio.embedding_scope", "With embedding_uncertainty, it has to exclude asset.")
    limit = common.limits.task_base64_bytes
    if audio.source.upload and audio.source.upload.size > limit:
        size = f"({audio.source.upload.size / _MB:.1f} MB) exceeds maximum limit of {limit / _MB:g} MB"
        raise RefusalError(400, "parameter_invalid", f"Audio {size}")
    return audio, common
