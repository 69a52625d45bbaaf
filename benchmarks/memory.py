"""Rows of memory: one long reply, a large upload, and callers that stop reading."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from benchmarks import bodies, requests
from benchmarks.gateway import DEFAULT, Gateway, Start
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from embedwire.v1 import embedding_pb2 as pb

MIB = 1 << 20
UPLOAD_BYTES = 100_000_000
CALLERS = 20
READ_SEGMENTS = 100
STALLED_SECONDS = 5.0
# Small windows, or the client's gRPC library buffers the whole reply.
WINDOWS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 64 << 10))

Work = Callable[[Gateway], Awaitable[object]]


@row(
    13,
    "memory",
    Bound("memory: 10 MB reply paced over 1 s, MiB", 6, 2, at_most=True),
    Bound("memory: 100 MB upload in chunks, MiB", 16, 8, at_most=True),
    Bound("memory: the same, upstream of 20 MB/s, MiB", 16, 8, at_most=True),
)
async def memory(stage: Stage) -> Measured:
    """Peak memory over baseline: that 10 MB reply; a 100 MB upload in chunks; the same to an upstream of 20 MB/s."""
    asked: dict[str, str] = {}
    rounds = [
        [await grown(stage, way, work, asked) for way, work in experiments()] for _ in range(min(3, stage.rounds))
    ]
    notes = [f"each in a fresh server; {', '.join(dict.fromkeys(asked.values()))}"]
    return Measured([list(column) for column in zip(*rounds, strict=True)], notes)


def experiments() -> list[tuple[str, Work]]:
    """Return the requests to a fresh server, and the port of the upstream for each."""
    return [("audio-paced", listen), ("audio-short", upload), ("audio-sink", upload)]


async def grown(stage: Stage, way: str, work: Work, asked: dict[str, str], start: Start = DEFAULT) -> float:
    """Return the growth in MiB of the peak memory of a fresh server over that after warm-up."""
    async with stage.gateway(way, start, request_limits_upload_bytes=2 * UPLOAD_BYTES) as server:
        await warm(server)
        await asyncio.sleep(0.5)
        server.program.forget_peak()
        baseline = server.program.memory()
        await work(server)
        asked[way] = await server.asked()
        return (server.program.peak() - baseline) / MIB


async def warm(server: Gateway) -> None:
    """Make some small calls of each kind."""
    async with server.stub() as stub:
        for _ in range(20):
            await stub.ListModels(requests.models())
        if server.way != "audio-paced":
            await _sent(stub, requests.sound(requests.CHUNK_BYTES))


async def listen(server: Gateway) -> None:
    async with server.stub() as stub:
        events = [event async for event in stub.CreateEmbedding(requests.audio(), timeout=60)]
    requests.check_events(events, bodies.TWO_HOURS)


async def upload(server: Gateway) -> None:
    async with server.stub() as stub:
        await _sent(stub, requests.sound(UPLOAD_BYTES))


async def _sent(stub: Any, data: bytes) -> None:
    async def messages() -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
        for message in requests.upload(data):
            yield message

    events = [event async for event in stub.CreateEmbeddingFromUpload(messages(), timeout=120)]
    requests.check_events(events, 1)


@row(14, "stopped", Bound("20 callers that stop reading, MiB", 64, 16, at_most=True))
async def stopped(stage: Stage) -> Measured:
    """20 callers that stop reading in the middle of a two-hour reply: growth of memory."""
    found = [await grown_by_stopped(stage) for _ in range(min(3, stage.rounds))]
    held, asked = min(held for _, held, _ in found), found[-1][2]
    note = f"calls that the server was held up in: {held} of {CALLERS}; {asked}"
    return Measured([[grown for grown, _, _ in found]], [note])


async def grown_by_stopped(stage: Stage, start: Start = DEFAULT) -> tuple[float, int, str]:
    """Return the growth of a fresh server in MiB, the number of blocked calls, and the number of upstream requests."""
    async with stage.gateway("audio", start) as server, contextlib.AsyncExitStack() as stack:
        await listen(server)
        await asyncio.sleep(0.5)
        server.program.forget_peak()
        baseline, good = server.program.memory(), await server.good_calls()
        stubs = [await stack.enter_async_context(server.stub(*WINDOWS)) for _ in range(CALLERS)]
        calls = await asyncio.gather(*(read_some(stub) for stub in stubs))
        await asyncio.sleep(STALLED_SECONDS)
        grown = (server.program.peak() - baseline) / MIB
        held = CALLERS - (await server.good_calls() - good)
        for call in calls:
            call.cancel()
        await asyncio.sleep(0.5)
        return grown, held, await server.asked()


async def read_some(stub: Any) -> Any:
    """Start a call and read the beginning of its reply."""
    call = stub.CreateEmbedding(requests.audio(), timeout=300)
    for _ in range(READ_SEGMENTS):
        assert (await call.read()).events[0].HasField("segment")
    return call
