"""Configured rate limits."""

import asyncio

from tests.system.answers import good
from tests.system.callers import Callers, names, open_loop
from tests.system.experiment import Experiment, guarantee
from tests.system.verdict import Verdict


@guarantee("quota", patient=True)
async def a_greedy_caller_takes_no_shares(experiment: Experiment) -> Verdict:
    """With 60 requests a minute and three callers, one of them at 50 times its share, the others get theirs."""
    limit, seconds = 60, experiment.scaled(180, 70)
    share = limit / 3 / 60
    async with experiment.environment(good, callers=0, rate_limits_text_requests_per_minute=limit) as (
        upstream,
        server,
        all_callers,
    ):
        async with (
            Callers.connected(server.target, 1) as greedy,
            Callers.connected(server.target, 1) as one,
            Callers.connected(server.target, 1) as other,
        ):
            pushing = asyncio.create_task(
                open_loop(names(int(50 * share * seconds), "greedy"), 50 * share, greedy.embed)
            )
            modest = [
                open_loop(names(int(share * seconds), kind), share, callers.embed)
                for kind, callers in (("one", one), ("other", other))
            ]
            await asyncio.gather(*modest)
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
        verdict = Verdict()
        verdict.at_most("in any 60 s", upstream.journal.most_within(60), limit)
        verdict.at_least("in the busiest 60 s", upstream.journal.most_within(60), 0.9 * limit)
        for callers in (one, other):
            verdict.at_least("of a fair share", callers.codes["OK"] / (share * seconds), 0.95, "{:.0%}")
        all_callers.outcomes += [*greedy.outcomes, *one.outcomes, *other.outcomes]
    return verdict
