"""Rows of long replies: throughput and latency of segments, and stalls of the event loop."""

import asyncio
import contextlib
import re
import signal
import statistics
import time
from collections.abc import AsyncGenerator
from typing import Any

from benchmarks import bodies, requests
from benchmarks.gateway import DEFAULT, Gateway, Start
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import STREAM, Stage, answer_of
from benchmarks.subjects import Embedding

CONNECTIONS = 8
TICKING = "benchmarks.ticking_app"


@row(
    10,
    "paced",
    Bound("paced 10 MB: first segment, ms", 50, 20, at_most=True),
    Bound("paced 10 MB: last after the last byte, ms", 10, 3, at_most=True),
)
async def paced(stage: Stage) -> Measured:
    """A 10 MB reply paced over 1 s: first segment at the caller; last segment after the last byte."""
    async with stage.gateway("audio-paced") as server:
        await listened(server)
        rounds = [await listened(server) for _ in range(stage.rounds)]
        asked = await server.asked()
    return Measured([list(column) for column in zip(*rounds, strict=True)], [asked])


async def listened(server: Gateway) -> tuple[float, float]:
    """Make one call; return ms until its first segment, and from the upstream's last byte to its last segment."""
    events: list[Any] = []
    times: list[int] = []
    async with server.stub() as stub:
        await stub.ListModels(requests.models(), timeout=60)  # connected before the measurement
        began = time.monotonic_ns()
        async for event in stub.CreateEmbedding(requests.audio(), timeout=60):
            times.append(time.monotonic_ns())
            events.append(event)
    requests.check_events(events, bodies.TWO_HOURS)
    last_byte = (await server.upstream.counts(server.way)).last
    return (times[0] - began) / 1e6, (times[-2] - last_byte) / 1e6


@row(11, "stall", Bound("longest stall in a 27 MB reply, ms", 10, 3, at_most=True))
async def stall(stage: Stage) -> Measured:
    """The longest stall of the event loop during a 27 MB reply."""
    rounds, rests = [], []
    async with stage.gateway("audio-long", Start(app=TICKING)) as server:
        await server.program.written("longest stall")
        for _ in range(stage.rounds + 1):
            rounds.append(await stalled_by_reply(server))
            rests.append(await stalled(server, 1.0))
        asked = await server.asked()
    at_rest = statistics.median(rests)
    return Measured([rounds[1:]], [f"at rest {at_rest:.1f} ms in 1 s", asked])


async def stalled_by_reply(server: Gateway) -> float:
    """Return the longest stall in ms during one reply."""
    await stalled(server)
    async with server.stub() as stub:
        events = [event async for event in stub.CreateEmbedding(requests.audio(), timeout=60)]
    requests.check_events(events, bodies.LONG)
    return await stalled(server)


async def stalled(server: Gateway, seconds: float = 0.0) -> float:
    """Return the longest stall in ms since the last query, or in this many seconds from now."""
    if seconds:
        await asyncio.sleep(seconds)
    count = len(_reported(server))
    server.program.process.send_signal(signal.SIGUSR1)
    async with asyncio.timeout(10):
        while len(_reported(server)) == count:
            server.program.check()
            await asyncio.sleep(0.01)
    return float(_reported(server)[-1])


def _reported(server: Gateway) -> list[str]:
    return re.findall(r"longest stall ([\d.]+) ms\n", server.program.log.read_text())


@contextlib.asynccontextmanager
async def long_replies(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of replies with 720 segments."""
    async with stage.gateway("audio", start) as server:
        yield await stage.streaming(server, requests.audio(), bodies.TWO_HOURS, CONNECTIONS, 1)


@row(12, "segments", Bound("720 segments ÷ bare stream of 720", 0.35, 0.55))
async def segments(stage: Stage) -> Measured:
    """720-segment replies, segments/s ÷ bare streaming of 720 prebuilt messages."""
    return await _beside_bare_stream(stage, per_message=1)


@row(22, "packed", Bound("720 segments, 5 a message ÷ bare stream of 720", 0.32, 0.5))
async def packed(stage: Stage) -> Measured:
    """The same with five segments in a message of the gateway ÷ bare streaming of 720 prebuilt messages."""
    return await _beside_bare_stream(stage, per_message=5)


async def _beside_bare_stream(stage: Stage, per_message: int) -> Measured:
    request = requests.audio(per_message)
    async with stage.gateway("audio") as server, stage.bare(await answer_of(server, request)) as bare:
        ours = await stage.streaming(server, request, bodies.TWO_HOURS, CONNECTIONS, 1)
        floor = bare(STREAM, request, CONNECTIONS, 1)
        found = await stage.compare({"gateway": ours, "bare server": floor})
    rates = {name: found.rate(name) * bodies.TWO_HOURS for name in found.samples}
    notes = [*found.notes(), ", ".join(f"{name} {rate:,.0f} segments/s" for name, rate in rates.items())]
    return Measured([found.ratios("gateway", "bare server")], notes)
