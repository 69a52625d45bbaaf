"""Retries in front of the rate limit policy."""

import asyncio

import pytest

from embedwire_server.core.errors import RateLimited, Reason, UpstreamFailure
from embedwire_server.core.models import Modality
from embedwire_server.testing import Attempt
from tests.support.embed_calls import call, embedded, gathered, limited, sample, start, undecided
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.retry_support import Bench, again


@in_virtual_time
async def test_every_attempt_is_rate_limited() -> None:
    """A 429 delays all calls; the refused one is retried after the back-off, at most a tenth later."""
    bench = Bench(limited(10))
    [first] = start(bench.rate_limited, call())
    await settled()
    others = start(bench.rate_limited, *[call() for _ in range(3)])
    await asyncio.gather(first, *others)

    assert bench.times[1:4] == pytest.approx([10, 10, 10])
    assert 10 <= bench.times[4] <= 11


@in_virtual_time
async def test_back_off_without_a_hint_ends_with_one_request() -> None:
    """After a 429 without a hint one request is sent first, also if all refused ones are retried together."""
    bench = Bench()
    bench.upstream.script = undecided
    tasks = start(bench.rate_limited, *[call() for _ in range(8)])
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
async def test_back_off_beyond_the_deadline() -> None:
    """If the back-off exceeds the deadline, the 429 is raised immediately with the delay."""
    bench = Bench(limited(1e6))
    with pytest.raises(UpstreamFailure) as caught:
        await embedded(bench.rate_limited, call(deadline=60.0))

    assert now() == 0
    assert caught.value.reason is Reason.UPSTREAM_RATE_LIMITED
    assert caught.value.retry_delay == 1e6


@in_virtual_time
async def test_cancellation_while_waiting() -> None:
    """A call cancelled in any kind of wait leaves no state."""
    bench = Bench()
    bench.upstream.script = undecided
    tasks = start(bench.rate_limited, *[call() for _ in range(4)])
    await asyncio.sleep(0.1)
    bench.upstream.attempts[0].fail(limited(50))
    bench.upstream.attempts[1].fail(again())
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await gathered(tasks)

    assert bench.upstream.running == 0
    assert bench.limiters.of(call()).is_idle
    assert sample(bench.metrics, "embedwire_rate_limit_queue_length", modality=Modality.TEXT) == 0


@in_virtual_time
async def test_retry_refused_by_rate_limits() -> None:
    """If rate limits refuse a retry, the upstream's failure of the attempt before is raised."""
    said = again()
    bench = Bench(said, RateLimited("no room"))
    assert await gathered(start(bench.retrying, call())) == [said]
    assert bench.made == 2
