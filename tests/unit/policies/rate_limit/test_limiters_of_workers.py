"""Rate limiters of several workers with the store of their supervisor."""

import asyncio

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Readiness
from embedwire_server.policies.rate_limit.local_store import LocalQuotaStore
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.rate_limit.quota_mode import QuotaMode
from embedwire_server.policies.rate_limit.shared_quota import SharedQuota
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.testing import Attempt, ScriptedUpstream
from tests.support.embed_calls import Embedded, call, gathered, start, times
from tests.support.quota_store import most_in_a_window
from tests.support.virtual_time import in_virtual_time, now
from tests.unit.policies.rate_limit.support import MARGIN, MINUTE, per_day


class Worker:
    """The rate-limited upstream of one worker."""

    def __init__(self, store: LocalQuotaStore, *limits: RateLimit) -> None:
        metrics = Metrics("fake")
        self.shared = SharedQuota(store, 2, QuotaMode(2, metrics, Readiness()))
        self.upstream = ScriptedUpstream(Attempt.succeed)
        limiters = RateLimiters({Modality.TEXT: limits}, metrics, self.shared)
        self.limited_upstream = RateLimitPolicy(self.upstream, limiters)

    def start(self, number: int, deadline: float = 1e9) -> list[asyncio.Task[Embedded]]:
        return start(self.limited_upstream, *[call(deadline=deadline) for _ in range(number)])


@pytest.mark.parametrize("loads", [(250, 250), (500, 0), (450, 20)])
@in_virtual_time
async def test_a_minute_of_two_workers(loads: tuple[int, int]) -> None:
    """Whichever worker has calls, both together never exceed a limit, and use at least 95 % of it."""
    store, amount, minutes = LocalQuotaStore(), 90, 4
    workers = [Worker(store, RateLimit("text requests per minute", amount, MINUTE)) for _ in loads]
    async with workers[0].shared.running(), workers[1].shared.running():
        tasks = [task for worker, load in zip(workers, loads, strict=True) for task in worker.start(load)]
        await asyncio.sleep(minutes * MINUTE)
        for task in tasks:
            task.cancel()
        await gathered(tasks)

    sent = [time for worker in workers for time in times(worker.upstream)]
    assert most_in_a_window(sent, MINUTE + MARGIN) <= amount
    assert len(sent) >= 0.95 * amount * minutes
    for worker, load in zip(workers, loads, strict=True):
        assert len(times(worker.upstream)) >= min(load, 0.4 * amount * minutes), "it starves"


@in_virtual_time
async def test_permits_that_are_reserved_for_later() -> None:
    """Calls whose permits are reserved for later are answered, also if those are the last of another limit."""
    worker = Worker(LocalQuotaStore(), RateLimit("text requests per minute", 20, MINUTE), per_day(3))
    async with worker.shared.running():
        await asyncio.gather(*worker.start(3, deadline=now() + 20))

    assert len(times(worker.upstream)) == 3
