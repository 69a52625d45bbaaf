"""Retries above the rate limit policy."""

import asyncio

import pytest

from embedwire_server.core.errors import RateLimited, Reason, UpstreamFailure
from embedwire_server.core.models import Modality
from embedwire_server.testing import Attempt
from tests.support.embed_calls import call, embedded, gathered, limited, sample, start, undecided
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.retry_support import Bench, again


@in_virtual_time
async def test_every_attempt_is_paced() -> None:
    """A 429 holds everybody; the one that got it comes back after the hold, a tenth later at most."""
    bench = Bench(limited(10))
    [first] = start(bench.paced, call())
    await settled()
    others = start(bench.paced, *[call() for _ in range(3)])
    await asyncio.gather(first, *others)

    assert bench.times[1:4] == pytest.approx([10, 10, 10])
    assert 10 <= bench.times[4] <= 11


@in_virtual_time
async def test_a_guess_ends_with_one_request() -> None:
    """After a 429 without a hint the first to go is alone, also if those that were refused come back together."""
    bench = Bench()
    bench.upstream.script = undecided
    tasks = start(bench.paced, *[call() for _ in range(8)])
    await asyncio.sleep(0.1)
    for attempt in list(bench.upstream.attempts):
        attempt.fail(limited())
    await asyncio.sleep(5)
    assert bench.made == 9
    bench.upstream.script = Attempt.succeed
    bench.upstream.attempts[-1].succeed()
    await asyncio.gather(*tasks)

    assert bench.made == 16


@in_virtual_time
async def test_a_hold_that_does_not_fit() -> None:
    """If the hold is longer than the deadline allows, the 429 comes at once, with the time to wait."""
    bench = Bench(limited(1e6))
    with pytest.raises(UpstreamFailure) as caught:
        await embedded(bench.paced, call(deadline=60.0))

    assert now() == 0
    assert caught.value.reason is Reason.UPSTREAM_RATE_LIMITED
    assert caught.value.retry_delay == 1e6


@in_virtual_time
async def test_cancelling_what_waits() -> None:
    """Whatever a call waits for when it is cancelled, nothing of it is left."""
    bench = Bench()
    bench.upstream.script = undecided
    tasks = start(bench.paced, *[call() for _ in range(4)])
    await asyncio.sleep(0.1)
    bench.upstream.attempts[0].fail(limited(50))
    bench.upstream.attempts[1].fail(again())
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await gathered(tasks)

    assert bench.upstream.running == 0
    assert bench.paces.of(call()).is_idle
    assert sample(bench.metrics, "embedwire_rate_limit_queue_length", modality=Modality.TEXT) == 0


@in_virtual_time
async def test_a_retry_that_cannot_be_paced() -> None:
    """Where the rate limits refuse a retry, the caller is told what the upstream said of the attempt before."""
    said = again()
    bench = Bench(said, RateLimited("no room"))
    assert await gathered(start(bench.retrying, call())) == [said]
    assert bench.made == 2
