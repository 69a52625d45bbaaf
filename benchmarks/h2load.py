"""Load by h2load. It takes any HTTP 200 for a success, so the size of the replies is checked as well."""

import asyncio
import dataclasses
import re
import resource
import subprocess
from pathlib import Path

from benchmarks.processes import OTHER_CORE

_RATE = re.compile(r"finished in \S+, ([\d.]+) req/s")
_REQUESTS = re.compile(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded")
_DATA = re.compile(r"\((\d+)\) data")


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Requests and their concurrency: a number of connections with a number of calls each."""

    url: str
    body: Path
    connections: int
    calls_each: int
    headers: tuple[str, ...] = ("content-type: application/grpc", "te: trailers")
    is_http1: bool = False
    cores: str = OTHER_CORE

    @property
    def in_flight(self) -> int:
        return self.connections * self.calls_each


@dataclasses.dataclass(frozen=True, slots=True)
class Burst:
    """The result of a load.

    Attributes:
        rate: answers a second.
        answers: number of replies with HTTP 200.
        data: size of their bodies in bytes.
        cpu: CPU time of h2load in seconds.
    """

    rate: float
    answers: int
    data: int
    cpu: float


async def fire(load: Load, calls: int) -> Burst:
    """Make this many calls and wait for all replies."""
    return await _run(load, f"--requests={calls}")


async def fire_for(load: Load, seconds: float) -> Burst:
    """Make calls for this many seconds; calls still in flight are cancelled and not counted, though their bytes are."""
    return await _run(load, f"--duration={round(seconds * 1000)}ms")


async def _run(load: Load, how_much: str) -> Burst:
    command = ["taskset", "--cpu-list", load.cores, "h2load", how_much, *(["--h1"] if load.is_http1 else [])]
    command += [f"--clients={load.connections}", f"--max-concurrent-streams={load.calls_each}"]
    command += [f"--data={load.body}", *(word for header in load.headers for word in ("--header", header)), load.url]
    before = _cpu()
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    rate, requests, data = (found.search(done.stdout) for found in (_RATE, _REQUESTS, _DATA))
    if rate is None or requests is None or data is None:
        raise RuntimeError(f"h2load: {done.stdout}{done.stderr}")
    return Burst(float(rate[1]), int(requests[2]), int(data[1]), _cpu() - before)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
