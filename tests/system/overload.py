"""More callers than the server has slots."""

import asyncio
import itertools
import json
import statistics
import time

from tests.system.answers import slow
from tests.system.callers import Callers, Outcome
from tests.system.experiment import Experiment, guarantee
from tests.system.outside import Probes, started
from tests.system.server import MIB
from tests.system.verdict import Verdict

SECONDS = 0.2  # what the upstream takes for one
TIMES = 3
WARM_UP = 2.0


@guarantee("overload")
async def three_times_too_many(experiment: Experiment) -> Verdict:
    """With three times as many callers as slots, goodput stays, other calls are refused immediately, probes succeed."""
    slots, seconds = experiment.scaled(64, 16), experiment.scaled(30.0, 8.0)
    async with experiment.environment(
        slow(SECONDS), callers=6, concurrency_inputs_per_modality=slots, concurrency_queue_per_modality=slots // 4
    ) as (
        _,
        server,
        callers,
    ):
        peak = await _goodput(callers, slots, experiment.scaled(10.0, 4.0))
        memory = server.memory()
        with started("probe", server.target, WARM_UP + seconds) as prober:
            goodput = await _goodput(callers, TIMES * slots, seconds)
            output = await asyncio.to_thread(prober.communicate)
        seen = Probes(**json.loads(output[0]))
        goodput += seen.codes.get("OK", 0) / (WARM_UP + seconds)  # they used slots as well
        verdict = Verdict()
        verdict.at_least(f"of the peak of {peak:.0f} calls/s", goodput / peak, 0.9, "{:.0%}")
        verdict.at_least("refusals seen", callers.codes["RESOURCE_EXHAUSTED"], 100)
        # In short, other work runs beside it.
        verdict.at_most(
            "ms p99 of a refusal, median of windows", 1000 * seen.refusal_p99, experiment.scaled(10, 100), "{:.1f}"
        )
        verdict.at_most("ms slowest health check", 1000 * seen.slowest_health, experiment.scaled(100, 1000), "{:.1f}")
        verdict.at_most("MiB more memory", (server.peak_memory() - memory) / MIB, 64, "{:.1f}")
        verdict.exactly("other outcomes", sorted(set(callers.codes) - {"OK", "RESOURCE_EXHAUSTED"}), [])
        callers.outcomes += [Outcome("probe", 0, code) for code, count in seen.codes.items() for _ in range(count)]
        callers.outcomes += [Outcome("probe", 0, left=True) for _ in range(seen.left)]
    return verdict


async def _goodput(callers: Callers, count: int, seconds: float) -> float:
    """Return the median of the successful calls in a second for this many persistent callers, after the warm-up."""
    began = time.monotonic() + WARM_UP
    end = began + seconds
    numbers = itertools.count(len(callers.outcomes))
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_persistent(callers, numbers, end))
    answered = [one.ended - began for one in callers.outcomes if one.code == "OK"]
    return statistics.median(sum(second <= at < second + 1 for at in answered) for second in range(int(seconds)))


async def _persistent(callers: Callers, numbers: "itertools.count[int]", end: float) -> None:
    """Run a caller that calls continuously and respects the retry delay of refusals."""
    while time.monotonic() < end:
        outcome = await callers.embed(f"call-{next(numbers):06}", 20)
        if outcome.code != "OK":
            await asyncio.sleep(outcome.retry_after or 0.0)
