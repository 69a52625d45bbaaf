"""The row of the start: time until a server serves, and its memory without calls."""

import asyncio
import statistics
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.gateway import DEFAULT, Start
from benchmarks.processes import Command, free_port, listening, running
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage

MIB = 1 << 20
REST_SECONDS = 1.0
SERVICE = "embedwire.v1.EmbeddingService"


@row(
    16,
    "start",
    Bound("start to SERVING, s", 0.7, 0.5, at_most=True),
    Bound("memory at rest, MiB", 80, 60, at_most=True),
)
async def start(stage: Stage) -> Measured:
    """Server start to SERVING; memory at rest (external upstream, one worker)."""
    await settle(stage)
    *columns, anonymous = zip(*[await started(stage) for _ in range(stage.rounds)], strict=True)
    return Measured(columns, [f"{statistics.median(anonymous):.1f} MiB of it are not pages of files"])


async def settle(stage: Stage, chosen: Start = DEFAULT) -> None:
    """Compile its modules, and fill the page cache with its files as after a boot of the machine."""
    await started(stage, chosen)
    await asyncio.to_thread(chosen.build.evict)
    await started(stage, chosen)


async def started(stage: Stage, chosen: Start = DEFAULT) -> tuple[float, float, float]:
    """Start a server; return the seconds until it serves, its memory in MiB, and the part without pages of files."""
    port = free_port()
    flags = ["--listen", f"127.0.0.1:{port}", "--metrics-listen", f"127.0.0.1:{free_port()}"]
    flags += ["--upstream", stage.upstream.url("text")]
    began = time.monotonic()
    # Bytecode is written, as by default.
    command: Command = ["env", "--unset=PYTHONDONTWRITEBYTECODE", *chosen.build.serve, *flags]
    async with running(command, stage.directory / "start.log") as program:
        await listening(port, program)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not await _is_serving(stub):
                await asyncio.sleep(0.005)
        taken = time.monotonic() - began
        await asyncio.sleep(REST_SECONDS)
        return taken, program.memory() / MIB, program.anonymous() / MIB


async def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True, timeout=10)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
