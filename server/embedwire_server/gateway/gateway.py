"""The gateway: one upstream call for each input of a request; segments and results are passed on as they arrive."""

import asyncio
import functools
import time
from collections import Counter
from typing import Protocol

from embedwire_server.admission.caller_quota import Admission
from embedwire_server.config.settings import Settings
from embedwire_server.core.cancellation import cancellation_requested
from embedwire_server.core.errors import GatewayError, UnsuitableFile
from embedwire_server.core.inputs import EmbedRequest, TextInput, content_of
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment, Stage
from embedwire_server.core.totals import Totals
from embedwire_server.gateway.task_group import run_together
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.observability.metrics import Metrics
from embedwire_server.upstreams.base import EmbedCall, Upstream


class Reply(Protocol):
    """Receives segments and results of a request.

    Each method returns when the caller has accepted the segments or the result: backpressure.
    """

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        """Add segments of one input, in order; `first` is the index of the first of them."""
        ...

    async def add_progress(self, call: EmbedCall, stage: Stage) -> None:
        """Add a new stage of one input, before its segments. May move its deadline, see `EmbedCall.uses_task`."""
        ...

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        """Add the result of one input: a summary, or a failure, which invalidates its segments."""
        ...


class Gateway:
    """Makes one upstream call for each input, several concurrently.

    Args:
        upstream: the upstream, wrapped in its policies.
        admission: admits or rejects requests.
        metrics: count every input and segment.

    Attributes:
        inputs_at_once: how many inputs of one request run at a time; may be changed for later ones.
    """

    def __init__(self, upstream: Upstream, admission: Admission, metrics: Metrics, inputs_at_once: int) -> None:
        self._upstream = upstream
        self._admission = admission
        self._metrics = metrics
        self.inputs_at_once = inputs_at_once
        self._in_flight = Counter[Modality]()
        for modality in Modality:  # read by each scrape, which is cheaper than setting a gauge
            metrics.inputs_in_flight.labels(modality).set_function(
                functools.partial(self._in_flight.__getitem__, modality)
            )

    def reconfigure(self, settings: Settings) -> None:
        """Use the concurrency of these settings for later requests."""
        self.inputs_at_once = settings.concurrency.inputs_per_call

    async def embed(self, request: EmbedRequest, deadline: float, reply: Reply) -> None:
        """Embed all inputs; the segments of each come in order, then its result, and inputs interleave.

        Args:
            request: the request.
            deadline: a time of the event loop's clock, passed to everything that waits.
            reply: receives segments and results.

        Raises:
            GatewayError: the failure of the only input. With several, failures are in the results.
            Overloaded, RateLimited: the request was not admitted; none of it was begun.
            Exception: what `reply` raises.
        """
        began = time.perf_counter()
        at_once = min(request.at_once(self.inputs_at_once), len(request.inputs))
        with self._admission.admit(request, at_once):
            if len(request.inputs) == 1:
                await self._embed(request, 0, deadline, began, reply)
            else:
                waiting, shared = iter(range(len(request.inputs))), _SharedReply(reply, deadline)

                async def embed_waiting() -> None:
                    for index in waiting:
                        await self._embed(request, index, shared.deadline, began, shared)

                await run_together(*[embed_waiting() for _ in range(at_once)])

    async def _embed(self, request: EmbedRequest, index: int, deadline: float, began: float, reply: Reply) -> None:
        """Embed one input."""
        queued = time.perf_counter() - began
        call = EmbedCall(
            request.inputs[index],
            request.model,
            deadline,
            index,
            request.max_retries,
            request.upstream_key,
            request.caller,
            request.has_uncertainty,
            tenant=request.tenant,
            queue=queued,
            began=asyncio.get_running_loop().time() - queued,
        )
        call.report = functools.partial(_report, reply)  # without the call: it would refer to itself
        outcome = await self._observed(call, reply, request.totals)
        if isinstance(outcome, ReplySummary):
            await reply.add_result(call, outcome, None)
            return
        if isinstance(outcome, UnsuitableFile):
            outcome.locate(request.input_path(index))
        outcome.task_id = call.task_id
        if len(request.inputs) == 1:
            outcome.attempts = call.attempts
            raise outcome
        outcome.locate(request.input_path(index))
        await reply.add_result(call, None, outcome)

    async def _observed(self, call: EmbedCall, reply: Reply, totals: Totals) -> ReplySummary | GatewayError:
        """Embed one input, and record its metrics and totals."""
        modality, metrics = call.modality, self._metrics
        began, queued = time.perf_counter(), call.queue
        outcome: ReplySummary | GatewayError | None = None
        self._in_flight[modality] += 1
        try:
            outcome = await self._outcome(call, reply)
            return outcome
        finally:
            self._in_flight[modality] -= 1
            reason = _reason(call, outcome)
            call.add_to(totals)
            others = call.queue - queued + call.waiting + call.upload + call.parked
            metrics.overhead_seconds.labels(modality).observe(max(0.0, time.perf_counter() - began - others))
            metrics.inputs.labels(modality, call.model.name, reason).inc()
            metrics.segments.labels(modality, call.model.name).inc(call.segments)
            if call.cache_status is not None:
                metrics.cache_inputs.labels(modality, call.cache_status).inc()

    async def _outcome(self, call: EmbedCall, reply: Reply) -> ReplySummary | GatewayError:
        """Embed one input, and return its failure instead of raising it: the other inputs continue."""
        content = content_of(call.input)
        try:
            if content is not None:
                with call.time("upload"):
                    call.content_bytes = await content.ready()
            elif isinstance(call.input, TextInput):
                call.content_bytes = len(call.input.value.encode())
            return await self._upstream.embed(call, functools.partial(_emit, call, reply))
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, GatewayError) and not call.is_abandoned:
                error.__traceback__ = error.__cause__ = error.__context__ = None  # break reference cycles
                return error
            if cancellation_requested():  # an error during the cancellation must not keep the call alive
                raise asyncio.CancelledError from error
            if call.is_abandoned:
                raise
            return log_unexpected(error)  # such as a CancelledError that has leaked from a library
        finally:
            if content is not None:
                content.close()


def _reason(call: EmbedCall, outcome: ReplySummary | GatewayError | None) -> str:
    """Return how an input has ended, for metrics; an outcome of None means that it was cancelled."""
    if isinstance(outcome, GatewayError):
        return outcome.reason
    if outcome is not None:
        return "OK"
    return call.cancellation_reason


async def _emit(call: EmbedCall, reply: Reply, segments: list[Segment]) -> None:
    """Add segments to the reply; see `upstream.Emit`."""
    began, first = time.perf_counter(), call.segments
    call.segments += len(segments)
    try:
        await reply.add_segments(call, first, segments)
    except BaseException:
        call.is_abandoned = True
        raise
    finally:
        call.parked += time.perf_counter() - began


async def _report(reply: Reply, call: EmbedCall, stage: Stage) -> None:
    """Add a stage to the reply; see `upstreams.base.Report`."""
    began = time.perf_counter()
    try:
        await reply.add_progress(call, stage)
    except BaseException:
        call.is_abandoned = True
        raise
    finally:
        call.parked += time.perf_counter() - began


class _SharedReply:
    """A reply for several tasks, with a lock: while one adds to it, the others wait.

    Attributes:
        deadline: of the inputs that begin from now on; it is later once an input uses a task.
    """

    def __init__(self, reply: Reply, deadline: float) -> None:
        self.deadline = deadline
        self._reply = reply
        self._lock = asyncio.Lock()

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        async with self._lock:
            await self._reply.add_segments(call, first, segments)

    async def add_progress(self, call: EmbedCall, stage: Stage) -> None:
        async with self._lock:
            await self._reply.add_progress(call, stage)
        self.deadline = max(self.deadline, call.deadline)

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        async with self._lock:
            await self._reply.add_result(call, summary, failure)
