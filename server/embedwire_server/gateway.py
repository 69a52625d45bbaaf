"""One request: its inputs to the upstream, their segments back, each as soon as it is there."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, Iterator

from embedwire_server.domain import (
    Completion,
    EmbedRequest,
    Event,
    InputResult,
    InputSegment,
    Segment,
    content_of,
)
from embedwire_server.errors import GatewayError, Reason
from embedwire_server.failures import is_cancelled, unforeseen
from embedwire_server.merge import merge
from embedwire_server.metrics import Metrics
from embedwire_server.trace import Trace
from embedwire_server.upstream import Upstream, UpstreamCall
from embedwire_server.upstream.policies.admission import Admission


class Gateway:
    """Makes one upstream call for each input, several at once.

    Args:
        upstream: where inputs go; policies included.
        admission: whether there is room for a request.
        metrics: told of every input and segment.
        inputs_at_once: how many inputs of one request run at a time.
    """

    def __init__(self, upstream: Upstream, admission: Admission, metrics: Metrics, inputs_at_once: int) -> None:
        self._upstream = upstream
        self._admission = admission
        self._metrics = metrics
        self._inputs_at_once = inputs_at_once

    async def embed(self, request: EmbedRequest, deadline: float) -> AsyncGenerator[Event]:
        """Yield the segments of each input in order, then its result; inputs interleave.

        Args:
            request: what to embed.
            deadline: a time of the event loop's clock, handed on to whatever waits.

        Raises:
            GatewayError: the failure of the only input. With several, failures are in the results.
            Overloaded: there is no room for the request; none of it was begun.
        """
        started = time.perf_counter()
        with self._admission.admit(request, self._inputs_at_once):
            answers = [self._answer(request, index, deadline, started) for index in range(len(request.inputs))]
            async with contextlib.aclosing(merge(answers, self._inputs_at_once)) as events:
                async for event in events:
                    yield event

    async def _answer(
        self, request: EmbedRequest, index: int, deadline: float, started: float
    ) -> AsyncGenerator[Event]:
        item = request.inputs[index]
        trace = Trace(queue=time.perf_counter() - started)
        call = UpstreamCall(
            item, request.model, deadline, request.max_retries, trace, request.upstream_key, request.caller
        )
        completion: Completion | None = None
        failure: GatewayError | None = None
        count = 0
        with self._observe(call) as outcome:
            try:
                async with contextlib.aclosing(self._parts(call)) as parts:
                    async for part in parts:
                        if isinstance(part, Completion):
                            completion = part
                            continue
                        outcome.segments = count + 1
                        with trace.time("parked"):
                            yield InputSegment(index, item.key, count, item.modality, part)
                        count += 1
            except GatewayError as error:
                failure = error
            outcome.reason = failure.reason if failure else "OK"
            if failure is not None and len(request.inputs) == 1:
                failure.attempts = trace.attempts
                raise failure
            with trace.time("parked"):
                yield InputResult(index, item.key, request.model, count, trace, completion, failure)

    async def _parts(self, call: UpstreamCall) -> AsyncGenerator[Segment | Completion]:
        """What the upstream makes of one input, once it is all here. Every failure is a GatewayError."""
        content = content_of(call.input)
        try:
            if content is not None:
                with call.trace.time("upload"):
                    await content.ready()
            async with contextlib.aclosing(self._upstream.embed(call)) as parts:
                async for part in parts:
                    yield part
        except GatewayError:
            raise
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise unforeseen(error) from None  # leaked out of a library
        except Exception as error:
            raise unforeseen(error) from error  # one input must not take the others with it
        finally:
            if content is not None:
                content.close()

    @contextlib.contextmanager
    def _observe(self, call: UpstreamCall) -> Iterator["_Outcome"]:
        modality, model, trace = call.input.modality, call.model.name, call.trace
        outcome, started, queued = _Outcome(), time.perf_counter(), trace.queue
        in_flight = self._metrics.inputs_in_flight.labels(modality)
        in_flight.inc()
        try:
            yield outcome
        finally:
            in_flight.dec()
            others = trace.queue - queued + trace.waiting + trace.upload + trace.parked
            self._metrics.overhead_seconds.labels(modality).observe(max(0.0, time.perf_counter() - started - others))
            self._metrics.inputs.labels(modality, model, outcome.reason).inc()
            self._metrics.segments.labels(modality, model).inc(outcome.segments)


@dataclasses.dataclass(slots=True)
class _Outcome:
    """What the metrics are told of an input. Until somebody knows better, nobody waited for it."""

    reason: str = Reason.CANCELLED
    segments: int = 0
