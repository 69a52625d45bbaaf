"""Metrics of inputs and segments."""

import asyncio
import dataclasses
import time

from embedwire_server.core.results import Segment
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.gateway.support import Bench, Recorder, cancelled, good, settled, stuck, text


async def test_metrics_of_success() -> None:
    """Inputs and segments are counted by modality and model, and running inputs are in flight."""
    bench, reply = Bench(a=good(3)), Recorder()
    reply.is_open.clear()
    task = bench.begin(text("a"), reply=reply)
    await settled()
    assert bench.in_flight() == 1
    reply.is_open.set()
    await task
    assert bench.in_flight() == 0
    assert (bench.inputs("OK"), bench.segments()) == (1, 3)
    overhead = bench.metrics.registry.get_sample_value("embedwire_gateway_overhead_seconds_count", {"modality": "text"})
    assert overhead == 1


async def test_slow_caller_is_no_overhead() -> None:
    """The time that the caller takes counts neither as the server's overhead nor as the upstream's time."""

    @dataclasses.dataclass
    class Slow(Recorder):
        async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
            await asyncio.sleep(0.05)
            await super().add_segments(call, first, segments)

    bench, reply = Bench(a=good(2)), Slow()
    began = time.perf_counter()
    await bench.embed(text("a"), reply=reply)
    taken = time.perf_counter() - began
    call = reply.results["a"].call
    own = bench.metrics.registry.get_sample_value("embedwire_gateway_overhead_seconds_sum", {"modality": "text"})
    assert own is not None
    assert call.parked > 0.09
    assert own + call.waiting + call.parked <= taken


async def test_segments_of_an_abandoned_input_are_counted() -> None:
    """Segments that were sent before a cancellation are counted."""
    bench, reply = Bench(a=stuck(2)), Recorder()
    task = bench.begin(text("a"), reply=reply)
    await settled()
    assert len(reply.segments) == 2
    await cancelled(task)

    assert bench.segments() == 2
