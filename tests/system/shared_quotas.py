"""One quota for several replicas, through a real Redis."""

import asyncio
import time
from collections import Counter

from tests.system.experiment import Experiment, guarantee
from tests.system.journal import Journal, Line
from tests.system.replicas_with_quota import REPLICAS, WINDOW, Stage, replica_of
from tests.system.verdict import Verdict

QUOTA = 600
CALLERS = 40  # of each busy replica
# The load ends this long after the quota of one more minute has begun, at the latest after twice the time.
AFTERWARDS = 5.0


@guarantee("shared-quota", together=True)
async def replicas_share_the_quota(experiment: Experiment) -> Verdict:
    """Four saturated replicas together use ≥ 95 % of the quota, never more in any minute, and none is starved."""
    minutes = experiment.scaled(3, 1)
    async with Stage.running(experiment, QUOTA) as stage:
        async with stage.saturated([*range(REPLICAS)], CALLERS):
            journal = await _used(stage, minutes)
        verdict = _of_quota(experiment, journal, minutes)
        shares = Counter(replica_of(line) for line in _counted(journal, minutes))
        equal = QUOTA * minutes / REPLICAS
        verdict.at_least("of an equal share for each", min(shares[n] for n in range(REPLICAS)) / equal, 0.5, "{:.0%}")
        _none_lost(verdict, stage)
    return verdict


@guarantee("shared-quota-uneven", together=True)
async def one_replica_uses_what_others_leave(experiment: Experiment) -> Verdict:
    """One busy replica of four uses ≥ 95 % of the whole quota, and never more in any minute."""
    minutes = experiment.scaled(2, 1)
    async with Stage.running(experiment, QUOTA) as stage:
        async with stage.saturated([0], CALLERS):
            journal = await _used(stage, minutes)
        verdict = _of_quota(experiment, journal, minutes)
        _none_lost(verdict, stage)
    return verdict


async def _used(stage: Stage, minutes: int) -> Journal:
    """Wait until the quota of this many minutes has been used, and that of the next one has begun."""
    end = time.monotonic() + 2 * minutes * WINDOW
    journal = await stage.upstream.journal()
    while len(journal) <= minutes * QUOTA and time.monotonic() < end:
        await asyncio.sleep(1.0)
        journal = await stage.upstream.journal()
    await asyncio.sleep(AFTERWARDS)
    return await stage.upstream.journal()


def _counted(journal: Journal, minutes: int) -> list[Line]:
    return journal.lines[: minutes * QUOTA]


def _of_quota(experiment: Experiment, journal: Journal, minutes: int) -> Verdict:
    """Judge all windows, and the time from the first request until the first one beyond the quota of these minutes."""
    least = experiment.scaled(0.95, 0.9)  # one slow answer of Redis costs a second of the minute
    verdict = Verdict()
    verdict.at_most("texts in any 60 s", journal.most_within(WINDOW), QUOTA)
    used = 0.0
    if len(journal) > minutes * QUOTA:
        used = minutes * WINDOW / (journal.lines[minutes * QUOTA].at - journal.lines[0].at)
    verdict.at_least(f"of the quota used over {minutes} min", used, least, "{:.1%}")
    return verdict


def _none_lost(verdict: Verdict, stage: Stage) -> None:
    lost = stage.lost()
    verdict.exactly(f"of {len(stage.outcomes)} calls lost {' '.join(sorted(set(lost)))}".strip(), len(lost), 0)
