"""More callers than the server has places for."""

import asyncio
import itertools
import json
import time

from promises.answers import slow
from promises.callers import Callers, Outcome
from promises.outside import Probes, started
from promises.server import MIB
from promises.stage import Stage, promise
from promises.verdict import Verdict

PLACES, SECONDS = 64, 0.2  # in flight, and what the upstream takes for one
WARM_UP = 2.0


@promise("overload")
async def three_times_too_many(stage: Stage) -> Verdict:
    """With three times as many callers as places, goodput stays, the rest is refused at once, probes are answered."""
    seconds = stage.scaled(30.0, 8.0)
    async with stage.playing(slow(SECONDS), callers=6, inputs_in_flight=PLACES, inputs_queued=16) as (
        _,
        server,
        callers,
    ):
        memory = server.memory()
        with started("probe", server.target, WARM_UP + seconds) as prober:
            began = time.monotonic() + WARM_UP
            end = began + seconds
            counter = itertools.count()
            async with asyncio.TaskGroup() as group:
                for _ in range(3 * PLACES):
                    group.create_task(_persistent(callers, counter, end))
            output = await asyncio.to_thread(prober.communicate)
        seen = Probes(**json.loads(output[0]))
        ok = sum(one.code == "OK" and began <= one.ended < end for one in callers.outcomes)
        verdict = Verdict()
        verdict.at_least("of peak goodput", ok / seconds / (PLACES / SECONDS), 0.9, "{:.0%}")
        verdict.at_least("refusals seen", callers.codes["RESOURCE_EXHAUSTED"], 100)
        verdict.at_most("ms p99 of a refusal", 1000 * seen.refusal_p99, 10, "{:.1f}")
        verdict.at_most("ms slowest health check", 1000 * seen.slowest_health, 100, "{:.1f}")
        verdict.at_most("MiB more memory", (server.peak_memory() - memory) / MIB, 64, "{:.1f}")
        verdict.exactly("other outcomes", sorted(set(callers.codes) - {"OK", "RESOURCE_EXHAUSTED"}), [])
        callers.outcomes += [Outcome("probe", 0, code) for code, count in seen.codes.items() for _ in range(count)]
        callers.outcomes += [Outcome("probe", 0, left=True) for _ in range(seen.left)]
    return verdict


async def _persistent(callers: Callers, counter: "itertools.count[int]", end: float) -> None:
    """A caller who always wants something, and waits as long as it is asked to when it is refused."""
    while time.monotonic() < end:
        outcome = await callers.embed(f"call-{next(counter):06}", 20)
        if outcome.code != "OK":
            await asyncio.sleep(outcome.retry_after or 0.0)
