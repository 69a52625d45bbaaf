"""Random failures and outages of the upstream."""

import time

from tests.system.answers import failing, outage
from tests.system.callers import closed_loop, names, open_loop
from tests.system.experiment import Experiment, guarantee
from tests.system.verdict import Verdict

BURST = 20  # the reserve of the retry budget


@guarantee("random-503")
async def a_tenth_fails(experiment: Experiment) -> Verdict:
    """With 10 % random 503, each call has exactly one result, nearly all are OK, with few more requests."""
    count = experiment.scaled(10_000, 2_500)
    async with experiment.environment(failing(0.1, experiment.seed)) as (upstream, _, callers):
        await closed_loop(names(count), 32, callers.embed)
        verdict = Verdict()
        verdict.exactly("calls answered once", sum(one.is_answered_once for one in callers.outcomes), count)
        verdict.at_least("OK", callers.codes["OK"] / count, 0.998, "{:.2%}")
        verdict.at_most("requests a call", len(upstream.journal) / count, 1.13, "{:.3f}")
    return verdict


@guarantee("often-503")
async def a_third_fails(experiment: Experiment) -> Verdict:
    """With 30 % random 503 and a retry budget of 20 %, no result is lost or repeated, and the budget limits retries."""
    count = experiment.scaled(10_000, 2_500)
    async with experiment.environment(failing(0.3, experiment.seed), retry_budget_ratio=0.2) as (upstream, _, callers):
        await closed_loop(names(count), 32, callers.embed)
        failed = [outcome for outcome in callers.outcomes if outcome.code != "OK"]
        verdict = Verdict()
        verdict.exactly("calls answered once", sum(one.is_answered_once for one in callers.outcomes), count)
        verdict.at_most("requests a call", len(upstream.journal) / count, 1.2 + BURST / count, "{:.3f}")
        verdict.at_least("OK", callers.codes["OK"] / count, 0.82, "{:.2%}")
        verdict.exactly("failures", {(one.code, bool(one.reason)) for one in failed}, {("UNAVAILABLE", True)})
    return verdict


@guarantee("outage")
async def everything_fails_for_a_while(experiment: Experiment) -> Verdict:
    """Retries do not prolong a total outage; calls succeed as soon as it ends, without a burst of requests."""
    seconds, rate, before, after = experiment.scaled(10.0, 4.0), 200.0, 2.0, 3.0
    began = time.monotonic() + before
    recovery = began + seconds
    script = outage(lambda: (began, recovery))
    async with experiment.environment(script) as (upstream, _, callers):
        began = time.monotonic() + before
        recovery = began + seconds
        await open_loop(names(int((before + seconds + after) * rate)), rate, callers.embed)
        hit = {line.input for line in upstream.journal.between(began, recovery)}
        first_ok = min(one.ended for one in callers.outcomes if one.code == "OK" and one.ended > recovery)
        verdict = Verdict()
        during = len(upstream.journal.between(began, recovery)) / len(hit)
        verdict.at_most("requests a call", during, 1.2 + BURST / len(hit), "{:.3f}")
        verdict.at_most("s to the first OK", first_ok - recovery, 2.0, "{:.2f}")
        window = experiment.scaled(0.1, 1.0)  # callers make up for a stall of the machine
        herd = len(upstream.journal.between(recovery, recovery + window))
        verdict.at_most(f"arrivals in the first {1000 * window:.0f} ms", herd, 2 * rate * window)
    return verdict
