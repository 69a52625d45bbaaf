"""Tasks: the upstream embeds in the background, and keeps the result for seven days.

A task is created at most once for each input, since it may be billed twice: a request whose response was lost is not
repeated. It cannot be cancelled. Facts: upstream API notes, section 12.
"""

import time

import httpx

from embedwire_server.core.errors import GatewayError, Reason, RetrySafety, UpstreamFailure
from embedwire_server.core.inputs import content_of
from embedwire_server.core.results import ReplySummary, Stage
from embedwire_server.upstreams.base import EmbedCall, Emit, Job
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http.client import HttpClient, read_json
from embedwire_server.upstreams.http.response_body import PIECE_BYTES, unusable
from embedwire_server.upstreams.twelvelabs.errors import Subject
from embedwire_server.upstreams.twelvelabs.identifiers import identifier, json_object
from embedwire_server.upstreams.twelvelabs.polling import Poll, answered
from embedwire_server.upstreams.twelvelabs.v2 import TASKS_ENDPOINT, V2Dialect
from embedwire_server.upstreams.twelvelabs.v2_reply import TaskReply, TaskStatus

SEGMENTS_AT_ONCE = 64  # passed on together, so that other calls run in between


class TaskUpstream:
    """Creates a task for an input and waits for its result.

    Args:
        client: sends the requests.
        dialect: builds the requests and parses the responses.
    """

    def __init__(self, client: HttpClient, dialect: V2Dialect) -> None:
        self._client = client
        self._dialect = dialect

    async def embed(self, call: EmbedCall, job: Job, emit: Emit) -> ReplySummary:
        """Embed one input. Its segments are passed on in the order of time, once the task is ready.

        Raises:
            GatewayError: the task cannot be created, has failed, or is not known.
        """
        if not job.task_id:
            await self._create(call, job)
            if (content := content_of(call.input)) is not None:
                content.close()  # it is not sent again, and the task may take an hour
        await call.enter(Stage.PROCESSING)
        side = call.side_call()
        try:
            reply = await self._result(side, job)
        finally:
            call.add_times(side)
        for start in range(0, len(reply.segments), SEGMENTS_AT_ONCE):
            await emit(reply.segments[start : start + SEGMENTS_AT_ONCE])
        return reply.summary

    async def has_ended(self, call: EmbedCall, job: Job) -> bool:
        """Ask once whether the task has ended; a task that is not known counts as ended.

        Raises:
            GatewayError: the request failed.
        """
        try:
            reply = await self._get(call, job)
        except UpstreamFailure as failure:
            if failure.reason is Reason.UPSTREAM_TASK_NOT_FOUND:
                return True
            raise
        return reply.has_ended

    async def _create(self, call: EmbedCall, job: Job) -> None:
        """Create the task. After a lost response it may exist: the request is not repeated."""
        content = content_of(call.input)
        size = 0
        if content is not None and not job.asset_id:
            size = await content.ready()
            await call.enter(Stage.UPLOADING)
        request = self._dialect.encode_task(call, size)
        job.is_task_requested = True
        try:
            body = await self._client.send(call, request, self._dialect.error_of(Subject.TASK_CREATION))
        except GatewayError as failure:
            is_known = failure.upstream is not None and failure.upstream.http_status < httpx.codes.INTERNAL_SERVER_ERROR
            is_unsent = isinstance(failure, UpstreamFailure) and failure.retry_safety is not RetrySafety.UNSAFE
            job.is_task_requested = not (is_known or is_unsent)
            raise
        reply = json_object(await read_json(body))
        job.task_id = identifier(reply.get("_id") or reply.get("id"), self._dialect.key(call))

    async def _result(self, call: EmbedCall, job: Job) -> TaskReply:
        """Poll the task until it has ended."""
        poll = Poll(call)
        while True:
            reply = await poll.attempt(lambda: self._get(call, job))
            if reply is not None and reply.has_ended:
                job.is_task_ended = True
                if reply.status is TaskStatus.FAILED:
                    raise self._dialect.task_failure(call, reply)
                return reply
            await poll.pause()

    async def _get(self, call: EmbedCall, job: Job) -> TaskReply:
        """Get the task; with its result once it is ready, which the upstream does not send separately."""
        path = f"{TASKS_ENDPOINT}/{job.task_id}"
        request = self._dialect.request(call, b"GET", path, f"{TASKS_ENDPOINT}/{{id}}")
        body = await answered(self._client.send(call, request, self._dialect.error_of(Subject.TASK)))
        parser = self._dialect.task_parser(call)
        try:
            while chunk := await body.chunk():
                for start in range(0, len(chunk), PIECE_BYTES):
                    if len(chunk) > PIECE_BYTES:
                        await self._client.other_turns()
                    started = time.perf_counter()
                    parser.feed(chunk[start : start + PIECE_BYTES])
                    call.decode += time.perf_counter() - started
                    if parser.fault is not None:
                        raise unusable(str(parser.fault))
            return parser.finish()
        except MalformedReplyError as error:
            raise unusable(str(error)) from None
        finally:
            await body.close()
