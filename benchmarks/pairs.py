"""Workloads for the comparison of two commits: the same work for both gateways, alternately."""

import contextlib
import dataclasses
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from benchmarks import health, memory
from benchmarks.audio import TICKING, listened, long_replies, stalled_by_reply
from benchmarks.connections import proxied_texts, proxied_tls_texts, tls_texts
from benchmarks.gateway import Start
from benchmarks.memory import Work, grown, grown_by_stopped
from benchmarks.stage import Stage
from benchmarks.start import started
from benchmarks.subjects import Embedding
from benchmarks.texts import late_texts, limited_texts, texts, unary_texts
from benchmarks.uploads import uploads

Measure = Callable[[], Awaitable[tuple[float, ...]]]  # one measurement: a number for each figure


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A workload for two gateways.

    Args:
        name: of the row.
        figures: names of the numbers of a measurement.
        open: prepares the gateway and the measurement.
        most_rounds: limit for measurements that take many seconds.
    """

    name: str
    figures: tuple[str, ...]
    open: Callable[[Stage, Start], AbstractAsyncContextManager[Measure]]
    most_rounds: int = 1000


def under_load(name: str, subject: Callable[[Stage, Start], AbstractAsyncContextManager[Embedding]]) -> Pair:
    """Measure CPU per call and calls/s of a gateway under the load of h2load."""

    @contextlib.asynccontextmanager
    async def opened(stage: Stage, start: Start) -> AsyncGenerator[Measure]:
        async with subject(stage, start) as embedding:

            async def measure() -> tuple[float, float]:
                sample = await embedding(stage.seconds)
                assert sample.cpu is not None
                return sample.cpu * 1e6, sample.rate

            await embedding(stage.seconds / 4)  # warm-up
            yield measure

    return Pair(name, ("CPU per call, us", "calls/s"), opened)


def of_memory(name: str, figure: str, measure: Callable[[Stage, Start], Awaitable[float]]) -> Pair:
    """Measure the growth of a fresh gateway in MiB, each time."""

    @contextlib.asynccontextmanager
    async def opened(stage: Stage, start: Start) -> AsyncGenerator[Measure]:
        async def measure_one() -> tuple[float]:
            return (await measure(stage, start),)

        yield measure_one

    return Pair(name, (figure,), opened, most_rounds=5)


@contextlib.asynccontextmanager
async def _audio(stage: Stage, start: Start) -> AsyncGenerator[Measure]:
    async with stage.gateway("audio-paced", start) as server:
        await listened(server)
        yield functools.partial(listened, server)


@contextlib.asynccontextmanager
async def _stall(stage: Stage, start: Start) -> AsyncGenerator[Measure]:
    async with stage.gateway("audio-long", dataclasses.replace(start, app=TICKING)) as server:
        await server.program.written("longest stall")

        async def measure() -> tuple[float]:
            return (await stalled_by_reply(server),)

        await measure()
        yield measure


def _memory(way: str, work: Work) -> Pair:
    async def measure(stage: Stage, start: Start) -> float:
        return await grown(stage, way, work, {}, start)

    return of_memory(f"memory-{way.removeprefix('audio-')}", f"growth of memory, {work.__name__}, MiB", measure)


async def _stopped(stage: Stage, start: Start) -> float:
    return (await grown_by_stopped(stage, start))[0]


@contextlib.asynccontextmanager
async def _start(stage: Stage, start: Start) -> AsyncGenerator[Measure]:
    yield functools.partial(started, stage, start)


_PAIRS = (
    under_load("text", texts),
    under_load("unary", unary_texts),
    under_load("latency", functools.partial(texts, connections=1, calls_each=1)),
    under_load("segments", long_replies),
    under_load("uploads", uploads),
    under_load("late", late_texts),
    under_load("limits", limited_texts),
    under_load("tls", tls_texts),
    under_load("proxy", proxied_texts),
    under_load("proxy-tls", proxied_tls_texts),
    Pair("start", ("start to SERVING, s", "memory at rest, MiB", "without pages of files, MiB"), _start),
    Pair("health", ("p50 of a health check, 384 in flight, ms",), health.checked),
    Pair("paced", ("first segment, ms", "last after the last byte, ms"), _audio),
    Pair("stall", ("longest stall in a 27 MB reply, ms",), _stall),
    *(_memory(way, work) for way, work in memory.experiments()),
    of_memory("stopped", "20 callers that stop reading, MiB", _stopped),
)
ALL = {pair.name: pair for pair in _PAIRS}
DEFAULT = ("text", "unary", "segments", "uploads", "late", "start")
