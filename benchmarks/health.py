"""The row of health checks: their latency on a busy server."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.gateway import Start
from benchmarks.stage import Stage
from benchmarks.texts import late_texts

PAUSE_SECONDS = 0.02


@contextlib.asynccontextmanager
async def checked(stage: Stage, start: Start) -> AsyncGenerator[Callable[[], Awaitable[tuple[float]]]]:
    """Check health time and again on a connection of its own, while 384 texts wait for an upstream of 200 ms."""
    async with late_texts(stage, start) as calls, contextlib.AsyncExitStack() as stack:
        assert calls.gateway is not None
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(calls.gateway.target, options))
        check = health_pb2_grpc.HealthStub(channel).Check

        async def measure() -> tuple[float]:
            load = asyncio.ensure_future(calls(stage.seconds))
            waits = []
            while not load.done():
                await asyncio.sleep(PAUSE_SECONDS)
                began = time.perf_counter()
                await check(health_pb2.HealthCheckRequest(), timeout=60)
                waits.append(time.perf_counter() - began)
            await load
            return (statistics.median(waits) * 1e3,)

        await measure()
        yield measure
