"""Rows of long recordings: assets, files as base64, and the result of a task."""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import bodies, requests
from benchmarks.asset_upstream import LONG
from benchmarks.audio import TICKING, stalled
from benchmarks.gateway import DEFAULT, Gateway, Start, gateway
from benchmarks.memory import MIB
from benchmarks.processes import OTHER_CORE, Command, Running, free_port, running
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from benchmarks.upstream import Upstream
from embedwire.v1 import embedding_pb2 as pb

SOURCE = Path(__file__).with_name("asset_upstream.py")
WAY = "assets"
SMALL_BYTES = 100_000
HEADER_BYTES = 44  # of the WAV files
UPLOAD_LIMIT = 300_000_000

Work = Callable[[Gateway], Awaitable[None]]


@row(
    23,
    "recordings",
    Bound("memory: 200 MB upload as an asset, MiB", 16, 8, at_most=True),
    Bound("memory: 250 MB upload as an asset in chunks, MiB", 16, 8, at_most=True),
    Bound("memory: 36 MB upload as base64, MiB", 16, 8, at_most=True),
    Bound("memory: 30 MB result of a task, MiB", 16, 8, at_most=True),
)
async def recordings(stage: Stage) -> Measured:
    """Peak memory over baseline: tasks for 200 and 250 MB as an asset, 36 MB as base64; a result of 30 MB."""
    works = (_uploading(200_000_000), _uploading(250_000_000), _uploading(36_000_000), listen)
    rounds = [[await grown(stage, work) for work in works] for _ in range(min(3, stage.rounds))]
    return Measured([list(column) for column in zip(*rounds, strict=True)], ["each in a fresh server"])


async def grown(stage: Stage, work: Work, start: Start = DEFAULT) -> float:
    """Return the growth in MiB of the peak memory of a fresh server over that after warm-up."""
    async with served(stage, start) as server:
        for _ in range(20):
            await _text(server)
        await _upload(server, SMALL_BYTES)
        await asyncio.sleep(0.5)
        server.program.forget_peak()
        baseline = server.program.memory()
        await work(server)
        return (server.program.peak() - baseline) / MIB


@contextlib.asynccontextmanager
async def served(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Gateway]:
    """Run a gateway and its upstream, which has assets and tasks."""
    result, port = stage.directory / "task.json", free_port()
    if not result.exists():
        result.write_bytes(bodies.task(bodies.TASK))
    command: Command = [sys.executable, SOURCE, str(port), result]
    async with running(command, stage.directory / "asset_upstream.log", OTHER_CORE) as program:
        await program.written("ready")
        upstream = Upstream(program, {WAY: port})
        flags = {"request_limits_upload_bytes": UPLOAD_LIMIT}
        async with gateway(stage.directory, upstream, WAY, start, flags) as server:
            yield server


def _uploading(size: int) -> Work:
    async def upload(server: Gateway) -> None:
        await _upload(server, size)

    return upload


async def _upload(server: Gateway, size: int) -> None:
    """Embed a file of about this size, and check that the upstream got all of it."""
    data = requests.sound(size - HEADER_BYTES)
    before = (await server.upstream.counts(WAY)).received

    async def messages() -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
        for message in requests.upload(data, is_task=True):
            yield message

    async with server.stub() as stub:
        await _check_short(stub.CreateEmbeddingFromUpload(messages(), timeout=300))
    received = (await server.upstream.counts(WAY)).received - before
    if size > SMALL_BYTES and received < size:
        raise AssertionError(f"the upstream got {received} bytes of {size}")


async def listen(server: Gateway) -> None:
    """Read the long result, and check its order and all of its numbers."""
    source = pb.MediaSource(task=pb.TaskSource(id=LONG))
    async with server.stub() as stub:
        events = [event async for event in stub.CreateEmbedding(requests.task(source), timeout=60)]
    requests.check(*requests.segments_and_result(events), bodies.TASK, bodies.TASK_DIMENSIONS)


async def _text(server: Gateway) -> None:
    async with server.stub() as stub:
        item = pb.Input(text=pb.TextInput(value="a red fox"))
        request = pb.CreateEmbeddingRequest(model_name=bodies.TASK_MODEL, inputs=[item])
        await _check_short(stub.CreateEmbedding(request, timeout=60))


async def _check_short(call: Any) -> None:
    segments, result = requests.segments_and_result([event async for event in call])
    if len(segments) != 1 or result.HasField("failure"):
        raise AssertionError(f"{len(segments)} segments: {result}")


@row(24, "task-stall", Bound("longest stall in a 30 MB result of a task, ms", 10, 3, at_most=True))
async def task_stall(stage: Stage) -> Measured:
    """The longest stall of the event loop during the result of a task of 30 MB; beside it, the slowest text."""
    stalls, meanwhile, alone = [], [], []
    async with served(stage, Start(app=TICKING)) as server:
        await server.program.written("longest stall")
        for _ in range(stage.rounds + 1):
            await stalled(server)
            await listen(server)
            stalls.append(await stalled(server))
        command = [sys.executable, "-m", "benchmarks.text_caller", server.target, bodies.TASK_MODEL]
        async with running(command, stage.directory / "text_caller.log", OTHER_CORE) as caller:
            await caller.written(r"\n")
            for _ in range(stage.rounds):
                alone.append(await _slowest_text(caller, asyncio.sleep(1)))
                meanwhile.append(await _slowest_text(caller, listen(server)))
    times = [f"{statistics.median(found) * 1e3:.1f} ms" for found in (meanwhile, alone)]
    return Measured([stalls[1:]], [f"slowest text meanwhile {times[0]}, in 1 s without {times[1]}"])


async def _slowest_text(caller: Running, work: Awaitable[object]) -> float:
    """Return the duration of the slowest text that was called during this work, in seconds."""
    began = time.monotonic()
    await work
    ended = time.monotonic()
    await asyncio.sleep(0.5)  # for the last of them
    calls = [tuple(map(float, line.split())) for line in caller.log.read_text().splitlines()[:-1]]
    return max(seconds for start, seconds in calls if start + seconds > began and start < ended)
