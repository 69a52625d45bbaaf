"""Faults of Redis while replicas share a quota through it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from tests.support.redis import RedisServer
from tests.system.callers import Callers, Outcome, names, open_loop, percentile
from tests.system.experiment import Experiment, guarantee
from tests.system.replicas_with_quota import REPLICAS, WINDOW, Stage
from tests.system.verdict import Verdict

Fault = Callable[[RedisServer, float], Awaitable[None]]
Span = tuple[float, float]  # its begin and its end

QUOTA, CALLERS = 600, 40
MOST_DELAY, MOST_DELAY_SHORT = 0.05, 0.3
# Texts a second of each replica, far below its part of the quota of the second experiment.
RATE, AMPLE_QUOTA = 8.0, 24_000
IMPATIENT, PAUSE = 2.0, 0.5  # deadline of calls that do not wait for their permit; between them
# The client sets no timer of its own with this metadata, so that the status comes from the server.
_IN_TIME = (("grpc-timeout", f"{IMPATIENT:.0f}S"),)


async def killed(redis: RedisServer, seconds: float) -> None:
    """Let Redis crash, and start it without data after this time."""
    await redis.kill()
    await asyncio.sleep(seconds)
    await redis.start()


async def paused(redis: RedisServer, seconds: float) -> None:
    """Let Redis hang."""
    redis.pause()
    await asyncio.sleep(seconds)
    redis.resume()


async def full(redis: RedisServer, seconds: float) -> None:
    """Let Redis reject all writes."""
    await redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await redis.command("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(seconds)
    await redis.command("CONFIG", "SET", "maxmemory", "0")


FAULTS: dict[str, Fault] = {"killed": killed, "paused": paused, "full": full}


@guarantee("redis-faults-quota", together=True)
async def the_quota_holds_after_a_loss(experiment: Experiment) -> Verdict:
    """After each fault of Redis, saturated replicas send no more than the quota in any minute, and lose no call."""
    verdict = Verdict()
    for name in experiment.scaled([*FAULTS], ["killed"]):
        async with Stage.running(experiment, QUOTA) as stage, stage.saturated([*range(REPLICAS)], CALLERS):
            async with _impatient(stage):
                while len(await stage.upstream.journal()) < QUOTA // 2:
                    await asyncio.sleep(0.05)
                began = time.monotonic()
                await FAULTS[name](stage.redis, experiment.scaled(10.0, 3.0))
                await asyncio.sleep(began + experiment.scaled(WINDOW + 30, WINDOW + 8) - time.monotonic())
            journal = await stage.upstream.journal()
            most = journal.most_within(WINDOW, since=began)
            verdict.at_most(f"{name}: in any 60 s after it ({journal.most_within(WINDOW)} in any)", most, QUOTA)
            verdict.at_least(f"{name}: after it", len(journal.between(began, time.monotonic())), QUOTA / 4)
            lost = stage.lost(IMPATIENT)
            verdict.exactly(f"of {len(stage.outcomes)} lost {' '.join(sorted(set(lost)))}".strip(), len(lost), 0)
    return verdict


@contextlib.asynccontextmanager
async def _impatient(stage: Stage) -> AsyncGenerator[None]:
    """Let one more caller of each replica repeat calls that end with RATE_LIMITED while the quota is used."""

    async def repeat(callers: Callers, number: int) -> None:
        while True:
            await callers.embed(f"{number} impatient", None, metadata=_IN_TIME)
            await asyncio.sleep(PAUSE)

    tasks = [asyncio.create_task(repeat(callers, number)) for number, callers in enumerate(stage.replicas)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@guarantee("redis-faults-delay")
async def faults_delay_no_call(experiment: Experiment) -> Verdict:
    """No fault of Redis fails a call or delays one by more than 50 ms, compared with a server without Redis."""
    spans: dict[str, Span] = {}
    async with Stage.running(experiment, AMPLE_QUOTA) as stage:
        limit = {"rate_limits_text_requests_per_minute": AMPLE_QUOTA}
        async with (
            experiment.server(stage.upstream.base_url, **limit) as alone,
            Callers.connected(alone.target) as control,
        ):
            # The noise is the slowest call, so there are as many without Redis as with it.
            rates = [(callers, RATE) for callers in stage.replicas] + [(control, REPLICAS * RATE)]
            loads = [asyncio.create_task(_load(*each, number)) for number, each in enumerate(rates)]
            await asyncio.sleep(1.0)
            quiet = (time.monotonic(), await _ends_after(experiment.scaled(20.0, 6.0)))
            keys = await stage.redis.command("KEYS", "embedwire:quota:*")
            for name, fault in FAULTS.items():
                began = time.monotonic()
                await fault(stage.redis, experiment.scaled(10.0, 3.0))
                spans[name] = (began, await _ends_after(experiment.scaled(12.0, 4.0)))  # until they use it again
            for load in loads:
                load.cancel()
            await asyncio.gather(*loads, return_exceptions=True)
    verdict = Verdict()
    verdict.at_least("keys of the quota in Redis before", len(keys.splitlines()), 1)
    noise = max(_seconds(control.outcomes, [quiet, *spans.values()]) + _seconds(stage.outcomes, [quiet]))
    for name, span in spans.items():
        seconds = _seconds(stage.outcomes, [span])
        bound = 1000 * (noise + experiment.scaled(MOST_DELAY, MOST_DELAY_SHORT))
        verdict.at_most(f"ms, the slowest of {len(seconds)}, Redis {name}", 1000 * max(seconds), bound, "{:.0f}")
        more = 1000 * (percentile(seconds, 0.9) - percentile(_seconds(control.outcomes, [span]), 0.9))
        verdict.at_most("ms more at the 90th percentile", more, 1000 * MOST_DELAY, "{:.0f}")
    failed = [f"{one.code} {one.reason}" for one in stage.outcomes if one.code != "OK" or one.message]
    verdict.exactly(f"of {len(stage.outcomes)} calls failed {' '.join(set(failed))}".strip(), len(failed), 0)
    return verdict


async def _ends_after(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return time.monotonic()


async def _load(callers: Callers, rate: float, number: int) -> None:
    await open_loop(names(100_000, f"{number} call"), rate, lambda name: callers.embed(name, 30))


def _seconds(outcomes: list[Outcome], spans: list[Span]) -> list[float]:
    """Return the times of the calls that began within one of these spans."""
    ended = [one for one in outcomes if not one.left]
    return [one.seconds for one in ended if any(start <= one.began < end for start, end in spans)]
