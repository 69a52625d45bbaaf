"""One request: its inputs to the upstream, their segments back, each as soon as it is there."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Self

from embedwire_server.domain import (
    Completion,
    EmbedRequest,
    Event,
    InputResult,
    InputSegment,
    Modality,
    content_of,
)
from embedwire_server.errors import GatewayError, Reason
from embedwire_server.failures import is_cancelled, unforeseen
from embedwire_server.merge import merge
from embedwire_server.metrics import Metrics
from embedwire_server.trace import Trace
from embedwire_server.upstream import Upstream, UpstreamCall
from embedwire_server.upstream.policies.allowances import Admits


class Gateway:
    """Makes one upstream call for each input, several at once.

    Args:
        upstream: where inputs go; policies included.
        admission: whether there is room for a request.
        metrics: told of every input and segment.

    Attributes:
        inputs_at_once: how many inputs of one request run at a time; may be changed for later ones.
    """

    def __init__(self, upstream: Upstream, admission: Admits, metrics: Metrics, inputs_at_once: int) -> None:
        self._upstream = upstream
        self._admission = admission
        self._metrics = metrics
        self.inputs_at_once = inputs_at_once
        self._in_flight = Counter[Modality]()
        for modality in Modality:  # read when somebody looks: to tell it each time costs more than to count
            metrics.inputs_in_flight.labels(modality).set_function(
                functools.partial(self._in_flight.__getitem__, modality)
            )

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
        at_once = request.at_once(self.inputs_at_once)
        with self._admission.admit(request, at_once):
            answers = [self._answer(request, index, deadline, started) for index in range(len(request.inputs))]
            events = merge(answers, at_once)
            try:
                async for event in events:
                    yield event

            finally:
                await events.aclose()

    async def _answer(
        self, request: EmbedRequest, index: int, deadline: float, started: float
    ) -> AsyncGenerator[Event]:
        item = request.inputs[index]
        trace = Trace(queue=time.perf_counter() - started)
        call = UpstreamCall(
            item, request.model, deadline, request.max_retries, trace, request.upstream_key, request.caller
        )
        content = content_of(item)
        completion: Completion | None = None
        failure: GatewayError | None = None
        count = 0
        with _Observed(call, self._metrics, self._in_flight) as observed:
            try:
                if content is not None:
                    with trace.time("upload"):
                        await content.ready()
                parts = self._upstream.embed(call)
                try:
                    async for part in parts:
                        if isinstance(part, Completion):
                            completion = part
                            continue
                        with trace.time("parked"):
                            for segment in part:
                                count = observed.segments = count + 1
                                yield InputSegment(index, item.key, count - 1, item.modality, segment)
                finally:
                    await parts.aclose()
            except GatewayError as error:
                failure = error
            except (Exception, asyncio.CancelledError) as error:  # one input must not take the others with it
                if is_cancelled():  # and a fault on the way out must not keep the call alive
                    raise asyncio.CancelledError from error
                failure = unforeseen(error)  # a CancelledError has leaked out of a library
            finally:
                if content is not None:
                    content.close()
            observed.reason = failure.reason if failure else "OK"
            if failure is not None:
                _end_or_locate(failure, request, index, trace)
            with trace.time("parked"):
                yield InputResult(index, item.key, request.model, count, trace, completion, failure)


def _end_or_locate(failure: GatewayError, request: EmbedRequest, index: int, trace: Trace) -> None:
    """Raise the failure of the only input, as that of the call; of several inputs, name the one that failed."""
    if len(request.inputs) == 1:
        failure.attempts = trace.attempts
        raise failure
    failure.locate(request.input_path(index))


class _Observed:
    """One input as the metrics see it, while it lasts and at its end.

    Attributes:
        reason: of its failure. Until somebody knows better, nobody waited for it.
        segments: how many were decoded.
    """

    def __init__(self, call: UpstreamCall, metrics: Metrics, in_flight: Counter[Modality]) -> None:
        self.reason: str = Reason.CANCELLED
        self.segments = 0
        self._metrics = metrics
        self._in_flight = in_flight
        self._trace = call.trace
        self._queued = call.trace.queue
        self._labels = (call.input.modality, call.model.name)

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self._in_flight[self._labels[0]] += 1
        return self

    def __exit__(self, *_: object) -> None:
        modality, model = self._labels
        trace, metrics = self._trace, self._metrics
        self._in_flight[modality] -= 1
        others = trace.queue - self._queued + trace.waiting + trace.upload + trace.parked
        metrics.overhead_seconds.labels(modality).observe(max(0.0, time.perf_counter() - self._started - others))
        metrics.inputs.labels(modality, model, self.reason).inc()
        metrics.segments.labels(modality, model).inc(self.segments)
