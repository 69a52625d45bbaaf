"""Spans of inputs, by the conventions for generative AI; used only if tracing is on."""

import asyncio
import time

from embedwire_server.core.errors import GatewayError, Reason
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.observability.tracing import Attributes, Tracer
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

_NANOSECONDS = 1_000_000_000


class InputSpanPolicy:
    """Middleware that records a span for each input; the outermost, see `Upstream`.

    Its start is that of the input: the waits for a slot of the call and for the upload are before this policy.

    Args:
        upstream: the next one.
        tracer: starts the spans.
    """

    def __init__(self, upstream: Upstream, tracer: Tracer) -> None:
        self._upstream = upstream
        self._tracer = tracer

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed through the wrapped upstream; see `Upstream`."""
        if not self._tracer.is_recording:
            return await self._upstream.embed(call, emit)
        started = time.time_ns() - int((call.queue + call.upload) * _NANOSECONDS)
        span = self._tracer.start(f"embeddings {call.model.name}", "internal", _of_start(call), started)
        first, began = 0.0, time.perf_counter() - call.queue - call.upload

        async def timed_emit(segments: list[Segment]) -> None:
            nonlocal first
            first = first or time.perf_counter() - began
            await emit(segments)

        try:
            with span.active():
                summary = await self._upstream.embed(call, timed_emit)
        except BaseException as error:
            span.end(_of_end(call, first), _reason_of(call, error))
            raise
        span.end(_of_end(call, first) | _tokens(summary))
        return summary


def _reason_of(call: EmbedCall, error: BaseException) -> Reason:
    """Return the reason of a failure; an exception of `emit` is none of the input."""
    if isinstance(error, asyncio.CancelledError):
        return call.cancellation_reason
    if call.is_abandoned:
        return Reason.CANCELLED
    return error.reason if isinstance(error, GatewayError) else Reason.INTERNAL


def _of_start(call: EmbedCall) -> Attributes:
    return {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": call.model.name,
        "gen_ai.embeddings.dimension.count": call.model.dimensions,
        "embedwire.input.index": call.index,
        "embedwire.modality": call.modality.value,
    }


def _of_end(call: EmbedCall, first: float) -> dict[str, str | int | float]:
    """Return what is known at the end; times are in seconds, and left out if they are 0."""
    known: dict[str, str | int | float] = {"embedwire.segments": call.segments, "embedwire.attempts": call.attempts}
    times = {
        "embedwire.queue.duration": call.queue,
        "embedwire.upload.duration": call.upload,
        "embedwire.upstream.duration": call.waiting,
        "embedwire.decode.duration": call.decode,
        "embedwire.client.duration": call.parked,
        "gen_ai.response.time_to_first_chunk": first,
    }
    known |= {name: round(seconds, 6) for name, seconds in times.items() if seconds}
    if call.upstream:
        known["gen_ai.provider.name"] = call.upstream
    if call.cache_status is not None:
        known["embedwire.cache_status"] = call.cache_status.value
    if call.task_id:
        known["embedwire.task_id"] = call.task_id
    return known


def _tokens(summary: ReplySummary) -> dict[str, int]:
    return {"gen_ai.usage.input_tokens": sum(summary.input_tokens.values())} if summary.input_tokens else {}
