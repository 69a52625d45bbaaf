"""Deadlines of identical inputs in flight."""

import asyncio

import pytest

from embedwire_server.core.errors import DeadlineExceeded, GatewayError, RateLimited
from embedwire_server.core.results import CacheStatus
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.policies.concurrency_limit import ConcurrencyLimiter, ConcurrencyLimitPolicy
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.testing import Attempt, ScriptedUpstream
from tests.support.embed_calls import ANSWER, KEYS, call, gathered, limited, start, undecided
from tests.support.virtual_time import in_virtual_time, now, settled


@in_virtual_time
async def test_latest_deadline() -> None:
    """The deadline of a flight is the latest of its callers'."""
    scripted = ScriptedUpstream(undecided)
    tasks = start(CoalescingPolicy(scripted, KEYS), *[call(deadline=seconds) for seconds in (5, 20, 10)])
    await settled()
    assert scripted.attempts[0].call.deadline == 20
    scripted.attempts[0].succeed()

    assert await gathered(tasks) == [ANSWER] * 3


@in_virtual_time
async def test_a_starter_that_has_expired() -> None:
    """It fails as without coalescing; a caller that has time left starts a flight of its own."""
    metrics, scripted = Metrics("fake"), ScriptedUpstream()
    limited_slots = ConcurrencyLimitPolicy(scripted, ConcurrencyLimiter(metrics, 1), metrics)
    expired, joined = call(deadline=-1.0), call(deadline=10.0)
    ends = asyncio.Event()

    class Late:
        """Lets the second caller join only when the flight has been rejected."""

        async def embed(self, *args):  # type: ignore[no-untyped-def]
            try:
                return await limited_slots.embed(*args)
            finally:
                await ends.wait()

    upstream = CoalescingPolicy(Late(), KEYS)
    tasks = start(upstream, expired)
    await settled()
    tasks += start(upstream, joined)
    await settled()
    ends.set()
    failure, answer = await gathered(tasks)

    assert isinstance(failure, DeadlineExceeded)
    assert answer == ANSWER
    assert joined.cache_status is CacheStatus.MISS
    assert len(scripted.attempts) == 1


@in_virtual_time
async def test_rate_limit_beyond_the_first_deadline() -> None:
    """A flight that waits for the rate limit is not rejected while a caller with a later deadline has joined."""
    metrics, scripted = Metrics("fake"), ScriptedUpstream(undecided)
    limiters = RateLimiters({}, metrics)
    upstream = CoalescingPolicy(RateLimitPolicy(scripted, limiters), KEYS)
    [other] = start(upstream, call(max_retries=1))
    await settled()
    scripted.attempts[0].fail(limited(30))
    await gathered([other])
    tasks = start(upstream, call(deadline=10), call(deadline=60))
    await settled()
    await asyncio.sleep(40)
    scripted.attempts[-1].succeed()

    assert await gathered(tasks) == [ANSWER, ANSWER]
    assert scripted.attempts[-1].at == pytest.approx(30, abs=4)


@pytest.mark.parametrize("deadlines", [(10, 60, 50), (10, 50, 60)], ids=str)
@in_virtual_time
async def test_callers_that_have_joined_too_late(deadlines: tuple[float, ...]) -> None:
    """Those with deadlines after the time of free capacity share another flight; the others get the rejection."""

    def script(attempt: Attempt) -> None:
        if len(scripted.attempts) > 1:
            attempt.succeed()

    scripted = ScriptedUpstream(script)
    calls = [call(deadline=seconds) for seconds in (*deadlines, 29)]
    tasks = start(CoalescingPolicy(scripted, KEYS), *calls)
    await settled()
    scripted.attempts[0].fail(RateLimited("no", retry_delay=30))
    first, *others, too_early = await gathered(tasks)

    assert isinstance(first, RateLimited)
    assert isinstance(too_early, RateLimited)
    assert others == [ANSWER, ANSWER]
    assert len(scripted.attempts) == 2
    assert sorted(str(one.cache_status) for one in calls[1:3]) == ["coalesced", "miss"]


@pytest.mark.parametrize("failure", [RateLimited("no"), RateLimited("no", retry_delay=0.0), DeadlineExceeded()])
@in_virtual_time
async def test_number_of_flights(failure: GatewayError) -> None:
    """An upstream that always fails for the deadline does not lead to endless flights."""

    async def fail(_: Attempt) -> None:
        raise failure

    scripted = ScriptedUpstream(fail)
    tasks = start(CoalescingPolicy(scripted, KEYS), *[call(deadline=50.0 + number) for number in range(20)])
    found = await gathered(tasks)

    assert [type(one) for one in found] == [type(failure)] * 20
    assert len(scripted.attempts) <= 20
    assert now() == 0
