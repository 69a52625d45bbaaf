"""Measure what an operation of the quota store costs Redis: CPU time of redis-server, its reads and writes included.

`python -m tests.capacity.measure` prints microseconds; the figures are parameters of the simulation (`costs.py`).
"""

import asyncio
import dataclasses
import statistics
import time
from collections.abc import Awaitable, Callable

from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.redis_store import PARTS, RedisQuotaStore
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import Demand, Lease, PastUsage, QuotaStoreUnavailable, UsageHistory
from embedwire_server.policies.redis_connection import PROBE_SECONDS, RedisConnection
from tests.support.redis import RedisServer

ROUNDS, OPERATIONS = 7, 1000
LIMIT = RateLimit("text requests per minute", 10**9, 60.0, is_media=False)


@dataclasses.dataclass
class Measured:
    """Microseconds of one kind of operation, of each round."""

    cpu: list[float] = dataclasses.field(default_factory=list)
    round_trip: list[float] = dataclasses.field(default_factory=list)


async def measure(reporting: int) -> dict[str, Measured]:
    """Measure operations on a full window.

    Args:
        reporting: number of other servers that have reported usage, as after a failure of Redis.
    """
    found = {name: Measured() for name in ("lease", "settle", "report", "report without limits")}
    async with RedisServer.running() as server:
        connection = RedisConnection(server.url, "quota", Metrics("measurement"))
        store = RedisQuotaStore(connection, "measurement")
        async with store.running():
            await _fill(store)
            for _ in range(reporting):
                await _lease(RedisQuotaStore(connection, "measurement"), _demand(), {LIMIT.name: [PastUsage(1.0, 1)]})
            for _ in range(ROUNDS):
                await _round(server, store, found)
    return found


async def _round(server: RedisServer, store: RedisQuotaStore, found: dict[str, Measured]) -> None:
    leases: list[Lease] = []
    demand = _demand()
    report = demand._replace(latest=float("-inf"))

    async def take() -> None:
        leases.append(await _lease(store, demand, {}))

    async def settle() -> None:
        await store.settle(leases.pop(), 2)

    async def report_usage() -> None:
        await _lease(store, report, {})

    async def report_without_limits() -> None:
        await _lease(store, report._replace(modality=Modality.IMAGE, limits=()), {})

    for measured, operation in zip(found.values(), (take, settle, report_usage, report_without_limits), strict=True):
        before = await _cpu(server)
        durations = [await _duration(operation) for _ in range(OPERATIONS)]
        measured.cpu.append((await _cpu(server) - before) / OPERATIONS * 1e6)
        measured.round_trip.append(statistics.median(durations) * 1e6)


async def _duration(operation: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    try:
        await operation()
    except QuotaStoreUnavailable:  # this machine was busy for 50 ms
        await asyncio.sleep(PROBE_SECONDS)
    return time.perf_counter() - began


async def _lease(store: RedisQuotaStore, demand: Demand, usage: UsageHistory) -> Lease:
    while True:
        try:
            return await store.lease(demand, lambda: usage)
        except QuotaStoreUnavailable:
            await asyncio.sleep(PROBE_SECONDS)


async def _fill(store: RedisQuotaStore) -> None:
    """Report usage in each part of the window, as a busy server has it."""
    part = LIMIT.seconds / PARTS
    await _lease(store, _demand(), {LIMIT.name: [PastUsage(age * part, 4) for age in range(PARTS - 1, -1, -1)]})


def _demand() -> Demand:
    return Demand(Modality.TEXT, (LIMIT,), 4, 0.0, asyncio.get_running_loop().time() + 60)


async def _cpu(server: RedisServer) -> float:
    lines = (await server.command("INFO", "cpu")).splitlines()
    values = dict(line.split(":") for line in lines if ":" in line)
    return float(values["used_cpu_user_main_thread"]) + float(values["used_cpu_sys_main_thread"])


if __name__ == "__main__":
    for reporting in (0, 1000):
        print(f"{reporting} servers have reported usage")  # noqa: T201 - a program
        for name, measured in asyncio.run(measure(reporting)).items():
            cpu, trip = statistics.median(measured.cpu), statistics.median(measured.round_trip)
            print(f"  {name:22} {cpu:6.1f} us of CPU, {trip:6.1f} us round trip")  # noqa: T201
