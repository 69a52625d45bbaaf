"""Calls that end before their reply: by their deadline, by cancellation, by the death of the client."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Awaitable

from tests.system.answers import HANGS, chance, good, slow
from tests.system.callers import Callers, Outcome, closed_loop, names, percentile
from tests.system.experiment import Experiment, guarantee
from tests.system.journal import Line
from tests.system.outside import started
from tests.system.proxy import CLEAN, Proxy, Toxics
from tests.system.upstream import Answer, Asked, Ending, Script, Upstream
from tests.system.verdict import Verdict

DEADLINE = 0.2
# The client sets no timer of its own with this metadata, so a reply in time comes from the server.
_TIMEOUT = (("grpc-timeout", f"{DEADLINE * 1000:.0f}m"),)
_AT_ONCE = 10
_HANG = Answer("hang", [Ending.HANG])


@guarantee("deadline")
async def the_upstream_hangs(experiment: Experiment) -> Verdict:
    """When the upstream hangs, the server ends the call in time and has released its resources 100 ms later."""
    kinds = {kind: (script, CLEAN) for kind, script in HANGS.items()}
    kinds["in a black hole"] = (good, Toxics(black_hole=True))
    # A short run shares its machine with others.
    slack, pause = experiment.scaled(0.05, 0.5), experiment.scaled(0.1, 1.0)
    sockets = tasks = 0
    async with (
        experiment.upstream(good) as upstream,
        Proxy(upstream.port).running() as proxy,
        experiment.server(f"http://127.0.0.1:{proxy.port}") as server,
        Callers.connected(server.target) as callers,
    ):
        for script, toxics in kinds.values():
            upstream.script, proxy.down = good, CLEAN
            await closed_loop(names(8, "good"), 1, callers.embed)
            before = await server.tasks()
            upstream.script, proxy.down = script, toxics
            for _ in range(experiment.scaled(10, 2)):
                await asyncio.gather(
                    *(callers.embed(name, None, metadata=_TIMEOUT) for name in names(_AT_ONCE, "hang"))
                )
                await asyncio.sleep(pause)
                sockets = max(sockets, proxy.open)
                tasks = max(tasks, await server.tasks() - before)
        await experiment.audit(server, callers, upstream)
    hung = [outcome for outcome in callers.outcomes if outcome.name.startswith("hang")]
    verdict = Verdict()
    verdict.exactly(f"for {len(hung)} calls", " ".join({one.code for one in hung}), "DEADLINE_EXCEEDED")
    verdict.at_most("s at most", max(one.seconds for one in hung), DEADLINE + slack, "{:.3f}")
    verdict.at_most("sockets left", sockets, 0)
    verdict.at_most("tasks left", tasks, 0)
    return verdict


@guarantee("cancel")
async def the_caller_goes(experiment: Experiment) -> Verdict:
    """When a caller cancels or is killed, the upstream connections of its calls are closed immediately."""
    # In a short run, the percentile is the maximum; a connection that is not closed stays for longer than these.
    most, most_loaded = experiment.scaled(50, 500), experiment.scaled(200, 1000)
    verdict = Verdict()
    async with experiment.environment(_waiting(good)) as (upstream, server, callers):
        for index in range(2):  # not the first calls of their lives
            await callers.embed(f"warm-{index}")
        calm = [await _cancelled(upstream, callers, name) for name in names(experiment.scaled(300, 100), "wait-calm")]
        verdict.at_most("ms p99 cancelled", 1000 * percentile(calm, 0.99), most, "{:.1f}")

        killed: list[float] = []
        for index in range(experiment.scaled(10, 3)):
            killed += await _killed(upstream, server.target, f"wait-killed-{index}", count=30)
        verdict.at_most("ms p99 killed", 1000 * percentile(killed, 0.99), most, "{:.1f}")

        upstream.script = _waiting(slow(0.05))
        async with _load(callers, 12):
            loaded = [
                await _cancelled(upstream, callers, name) for name in names(experiment.scaled(300, 100), "wait-loaded")
            ]
        verdict.at_most("ms p99 cancelled under load", 1000 * percentile(loaded, 0.99), most_loaded, "{:.1f}")
        callers.outcomes += [Outcome("killed", 0, left=True) for _ in killed]  # killed, so there is no outcome
    return verdict


@guarantee("churn")
async def callers_cancel_at_random(experiment: Experiment) -> Verdict:
    """After thousands of calls that were cancelled at any moment, a small pool still answers every call."""
    count = experiment.scaled(20_000, 3_000)

    def is_held(name: str) -> bool:
        """Whether the answer is held until the call is cancelled, so that however fast the server is, many are."""
        return name.startswith("call") and chance(experiment.seed, "held", name) < 0.4

    def script(asked: Asked) -> Answer:
        name = asked.line.input
        return _HANG if is_held(name) else slow(0.03 * chance(experiment.seed, name))(asked)

    async with experiment.environment(script, concurrency_inputs_per_modality=10) as (_, _, callers):

        def cancelled(name: str) -> Awaitable[Outcome]:
            most = 0.03 if is_held(name) else 0.1
            return callers.embed(name, cancel_after=most * chance(experiment.seed, "cancel", name))

        await closed_loop(names(count), 16, cancelled)
        churned = callers.left
        fresh = len(callers.outcomes)
        await closed_loop(names(100, "fresh"), 10, callers.embed)
        verdict = Verdict()
        verdict.at_least(f"of {count} cancelled", churned, count / 5)
        verdict.exactly("of 100 fresh calls OK", sum(one.code == "OK" for one in callers.outcomes[fresh:]), 100)
    return verdict


@contextlib.asynccontextmanager
async def _load(callers: Callers, at_once: int) -> AsyncGenerator[None]:
    """Run this many callers in closed loops."""
    load = asyncio.create_task(closed_loop(names(sys.maxsize, "load"), at_once, callers.embed))
    try:
        yield
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)


def _waiting(otherwise: Script) -> Script:
    """Delay calls with such names indefinitely."""
    return lambda asked: _HANG if asked.line.input.startswith("wait") else otherwise(asked)


async def _cancelled(upstream: Upstream, callers: Callers, name: str) -> float:
    """Return the seconds from the cancellation of a waiting call to the end of its upstream connection."""
    call = asyncio.create_task(callers.embed(name))
    line = await upstream.journal.arrival(name)
    await asyncio.sleep(0.005)
    began = time.monotonic()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return await _closed([line]) - began


async def _killed(upstream: Upstream, target: str, prefix: str, count: int) -> list[float]:
    """Return the seconds from the death of a process to the end of the upstream connection of each of its calls."""
    with started("hang", target, count, prefix) as process:
        lines = [await upstream.journal.arrival(name) for name in names(count, prefix)]
        began = time.monotonic()
        process.kill()
        await _closed(lines)
    return [line.closed - began for line in lines if line.closed is not None]


async def _closed(lines: list[Line]) -> float:
    """Wait until the connections of these requests are closed; return the time of the last one."""
    async with asyncio.timeout(10):
        while any(line.closed is None for line in lines):
            await asyncio.sleep(0.001)
    return max(line.closed or 0.0 for line in lines)
