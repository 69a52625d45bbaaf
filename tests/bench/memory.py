"""Rows of memory: what one long reply takes, what a large upload takes, and what callers take who stop reading."""

import asyncio
import contextlib
import io
import wave
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from bench import bodies, requests
from bench.gateway import Gateway
from bench.rows import Bound, Measured, row
from bench.stage import Stage
from embedwire.v1 import embedding_pb2 as pb

MIB = 1 << 20
UPLOAD_BYTES = 100_000_000
CHUNK_BYTES = 64 << 10
CALLERS = 20
READ_SEGMENTS = 100
STALLED_SECONDS = 5.0
# Small windows, or the callers' own gRPC takes in the whole reply for them.
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
    experiments: list[tuple[str, Work]] = [("audio-paced", listen), ("audio-short", upload), ("audio-sink", upload)]
    asked: dict[str, str] = {}
    rounds = [[await grown(stage, way, work, asked) for way, work in experiments] for _ in range(min(3, stage.rounds))]
    notes = [f"each in a fresh server; {', '.join(dict.fromkeys(asked.values()))}"]
    return Measured([list(column) for column in zip(*rounds, strict=True)], notes)


async def grown(stage: Stage, way: str, work: Work, asked: dict[str, str]) -> float:
    """MiB by which the peak of a fresh server is above what it had when it was warm."""
    async with stage.gateway(way, max_upload_bytes=2 * UPLOAD_BYTES) as server:
        await warm(server)
        await asyncio.sleep(0.5)
        server.program.forget_peak()
        baseline = server.program.memory()
        await work(server)
        asked[way] = await server.asked()
        return (server.program.peak() - baseline) / MIB


async def warm(server: Gateway) -> None:
    """Some small calls of each kind."""
    async with server.stub() as stub:
        for _ in range(20):
            await stub.ListModels(requests.models())
        if server.way != "audio-paced":
            await _sent(stub, sound(CHUNK_BYTES))


async def listen(server: Gateway) -> None:
    async with server.stub() as stub:
        events = [event async for event in stub.CreateEmbedding(requests.audio(), timeout=60)]
    requests.check_events(events, bodies.TWO_HOURS)


async def upload(server: Gateway) -> None:
    async with server.stub() as stub:
        await _sent(stub, sound(UPLOAD_BYTES))


async def _sent(stub: Any, data: bytes) -> None:
    source = pb.UploadSource(file_name="sound.wav", media_type="audio/wav", size_bytes=len(data))
    first = requests.of(pb.Input(audio=pb.AudioInput(source=pb.MediaSource(upload=source))))

    async def messages() -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
        yield pb.CreateEmbeddingFromUploadRequest(request=first)
        for start in range(0, len(data), CHUNK_BYTES):
            piece, is_last = data[start : start + CHUNK_BYTES], start + CHUNK_BYTES >= len(data)
            yield pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=piece, last=is_last))

    events = [event async for event in stub.CreateEmbeddingFromUpload(messages(), timeout=120)]
    requests.check_events(events, 1)


def sound(size: int) -> bytes:
    """A WAV file of about this size."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(size))
    return out.getvalue()


@row(14, "stopped", Bound("20 callers who stop reading, MiB", 64, 16, at_most=True))
async def stopped(stage: Stage) -> Measured:
    """20 callers that stop reading in the middle of a two-hour reply: growth of memory."""
    rounds, held = [], []
    for _ in range(min(3, stage.rounds)):
        async with stage.gateway("audio") as server, contextlib.AsyncExitStack() as stack:
            await listen(server)
            await asyncio.sleep(0.5)
            server.program.forget_peak()
            baseline, good = server.program.memory(), await server.good_calls()
            stubs = [await stack.enter_async_context(server.stub(*WINDOWS)) for _ in range(CALLERS)]
            calls = await asyncio.gather(*(read_some(stub) for stub in stubs))
            await asyncio.sleep(STALLED_SECONDS)
            rounds.append((server.program.peak() - baseline) / MIB)
            held.append(CALLERS - (await server.good_calls() - good))
            for call in calls:
                call.cancel()
            await asyncio.sleep(0.5)
            asked = await server.asked()
    return Measured([rounds], [f"calls that the server was held up in: {min(held)} of {CALLERS}; {asked}"])


async def read_some(stub: Any) -> Any:
    """Begin a call and read the beginning of its reply."""
    call = stub.CreateEmbedding(requests.audio(), timeout=300)
    for _ in range(READ_SEGMENTS):
        assert (await call.read()).HasField("segment")
    return call
