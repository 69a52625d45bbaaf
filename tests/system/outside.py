"""Clients in a separate process: some to be killed, and one whose probes are not delayed by the load.

python -m tests.system.outside hang TARGET COUNT PREFIX     calls that wait for their answers until the process ends
python -m tests.system.outside probe TARGET SECONDS         health checks and single calls; prints their times as JSON
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.messages import request, text_input
from tests.system.callers import Callers, closed_loop, names, percentile
from tests.system.server import SERVICE
from tests.system.watched import watch_parent

_PAUSE = 0.05  # probing also loads the server
_WINDOW = 6.0
_CALLERS = 4  # concurrent probe calls on one connection: the p99 of a few dozen refusals would be the slowest one


@contextlib.contextmanager
def started(*words: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Start one of the two as a process."""
    command = [sys.executable, "-m", "tests.system.outside", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@dataclasses.dataclass
class Probes:
    """Measurements of a prober, in seconds."""

    slowest_health: float
    health_checks: int
    refusals: int
    refusal_p99: float  # the median over windows, so that a moment of other load does not decide
    codes: dict[str, int]
    left: int


async def hang(target: str, count: int, prefix: str) -> None:
    async with Callers.connected(target) as callers:
        await closed_loop(names(count, prefix), count, callers.embed)


async def probe(target: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    health: list[float] = []
    async with Callers.connected(target, 1) as callers, grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def check() -> None:
            while time.monotonic() < end:
                began = time.monotonic()
                for service in ("", SERVICE):
                    await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
                health.append((time.monotonic() - began) / 2)
                await asyncio.sleep(_PAUSE)

        async def call() -> None:
            while True:
                await callers.embed(request(text_input("probe")), 10)
                await asyncio.sleep(_PAUSE)

        calling = [asyncio.create_task(call()) for _ in range(_CALLERS)]
        await check()
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
    refusals = [one for one in callers.outcomes if one.reason == "OVERLOADED"]
    windows: dict[int, list[float]] = collections.defaultdict(list)
    for one in refusals:
        windows[int(one.ended // _WINDOW)].append(one.seconds)
    p99 = statistics.median(percentile(window, 0.99) for window in windows.values())
    seen = Probes(max(health), len(health), len(refusals), p99, dict(callers.codes), callers.left)
    print(json.dumps(dataclasses.asdict(seen)))  # noqa: T201 - for the process that started this one


if __name__ == "__main__":
    watch_parent()
    kind, target, number, *prefix = sys.argv[1:]
    uvloop.run(hang(target, int(number), *prefix) if kind == "hang" else probe(target, float(number)))
