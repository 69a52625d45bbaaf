"""One request: its inputs to the upstream, their segments and results to the caller, each as soon as it is there."""

import asyncio
import functools
import time
from collections import Counter
from typing import Protocol

from embedwire_server.admission.caller_quota import Admission
from embedwire_server.core.cancellation import cancellation_requested
from embedwire_server.core.errors import GatewayError, Reason
from embedwire_server.core.inputs import EmbedRequest, content_of
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.gateway.tasks import run_together
from embedwire_server.observability.exceptions import log_unexpected
from embedwire_server.observability.metrics import Metrics
from embedwire_server.upstreams.base import EmbedCall, Upstream


class Reply(Protocol):
    """Takes what becomes of a request. Each method returns when the caller has taken it, which is the backpressure."""

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        """Take segments of one input, in order; `first` is the index of the first of them."""
        ...

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        """Take the end of one input: a summary, or a failure, which makes its segments void."""
        ...


class Gateway:
    """Makes one upstream call for each input, several at once.

    Args:
        upstream: where inputs go; policies included.
        admission: whether there is room for a request.
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
        for modality in Modality:  # read by each scrape: to set a gauge each time costs more than to count
            metrics.inputs_in_flight.labels(modality).set_function(
                functools.partial(self._in_flight.__getitem__, modality)
            )

    async def embed(self, request: EmbedRequest, deadline: float, reply: Reply) -> None:
        """Embed all inputs; the segments of each come in order, then its result, and inputs interleave.

        Args:
            request: what to embed.
            deadline: a time of the event loop's clock, handed on to whatever waits.
            reply: takes segments and results.

        Raises:
            GatewayError: the failure of the only input. With several, failures are in the results.
            Overloaded: there is no room for the request; none of it was begun.
            Exception: what `reply` raises.
        """
        began = time.perf_counter()
        at_once = min(request.at_once(self.inputs_at_once), len(request.inputs))
        with self._admission.admit(request, at_once):
            if len(request.inputs) == 1:
                await self._embed(request, 0, deadline, began, reply)
            else:
                waiting, shared = iter(range(len(request.inputs))), _SharedReply(reply)

                async def embed_waiting() -> None:
                    for index in waiting:
                        await self._embed(request, index, deadline, began, shared)

                await run_together(*[embed_waiting() for _ in range(at_once)])

    async def _embed(self, request: EmbedRequest, index: int, deadline: float, began: float, reply: Reply) -> None:
        """Embed one input."""
        call = EmbedCall(
            request.inputs[index],
            request.model,
            deadline,
            index,
            request.max_retries,
            request.upstream_key,
            request.caller,
            queue=time.perf_counter() - began,
        )
        outcome = await self._observed(call, reply)
        if isinstance(outcome, ReplySummary):
            await reply.add_result(call, outcome, None)
            return
        if len(request.inputs) == 1:
            outcome.attempts = call.attempts
            raise outcome
        outcome.locate(request.input_path(index))
        await reply.add_result(call, None, outcome)

    async def _observed(self, call: EmbedCall, reply: Reply) -> ReplySummary | GatewayError:
        """Embed one input, and report it to the metrics."""
        modality, metrics = call.modality, self._metrics
        began, queued = time.perf_counter(), call.queue
        reason: str = Reason.CANCELLED  # unless it ends in another way
        self._in_flight[modality] += 1
        try:
            outcome = await self._outcome(call, reply)
            reason = outcome.reason if isinstance(outcome, GatewayError) else "OK"
            return outcome
        finally:
            self._in_flight[modality] -= 1
            others = call.queue - queued + call.waiting + call.upload + call.parked
            metrics.overhead_seconds.labels(modality).observe(max(0.0, time.perf_counter() - began - others))
            metrics.inputs.labels(modality, call.model.name, reason).inc()
            metrics.segments.labels(modality, call.model.name).inc(call.segments)

    async def _outcome(self, call: EmbedCall, reply: Reply) -> ReplySummary | GatewayError:
        """Embed one input. One that fails must not take the others with it."""
        content = content_of(call.input)
        try:
            if content is not None:
                with call.time("upload"):
                    await content.ready()
            return await self._upstream.embed(call, functools.partial(_emit, call, reply))
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, GatewayError) and not call.is_abandoned:
                error.__traceback__ = error.__cause__ = error.__context__ = None  # frames that hold it: cycles
                return error
            if cancellation_requested():  # a fault on the way out must not keep the call alive
                raise asyncio.CancelledError from error
            if call.is_abandoned:
                raise
            return log_unexpected(error)  # such as a CancelledError that has leaked out of a library
        finally:
            if content is not None:
                content.close()


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


class _SharedReply:
    """A reply to which several tasks add; the one that adds keeps the others waiting."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lock = asyncio.Lock()

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        async with self._lock:
            await self._reply.add_segments(call, first, segments)

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        async with self._lock:
            await self._reply.add_result(call, summary, failure)
