"""When calls are refused that wait for shared limits: as soon as it is known, and only those that get no capacity."""

import asyncio

import pytest

from embedwire_server.core.errors import RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.upstream_back_off import MAX_BACK_OFF
from embedwire_server.testing import Attempt
from tests.support.embed_calls import call, embedded, gathered, limited, start
from tests.support.quota_store import MemoryQuota
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.shared_support import Server, running, servers
from tests.unit.policies.rate_limit.support import DAY, HOUR, MINUTE, Bench, audio, per_day, per_hour


@in_virtual_time
async def test_store_is_lost_while_calls_wait() -> None:
    """When the store is lost, waiting calls that its part cannot serve in time are refused within a second."""
    server = Server(per_day(10), shares=2)
    async with running([server]):
        await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(5)]))
        await asyncio.sleep(1)  # further permits have expired
        server.store.grants = False
        patient, hurried = start(server.limited_upstream, call(deadline=2 * DAY), call(deadline=now() + MINUTE))
        await settled()
        server.cut_off()
        lost_at = now()
        [ended] = await gathered([hurried])
        assert isinstance(ended, RateLimited)
        assert now() - lost_at <= 1.5
        patient.cancel()
        await asyncio.wait([patient])


@in_virtual_time
async def test_a_limit_is_lowered_while_calls_wait() -> None:
    """A lower limit refuses immediately the waiting calls that it does not allow in time, also behind the first one."""
    bench = Bench(per_day(2), script=Attempt.succeed)
    await embedded(bench.limited_upstream, call())
    await asyncio.sleep(HOUR)
    await embedded(bench.limited_upstream, call())
    patient, hurried = start(bench.limited_upstream, call(deadline=3 * DAY), call(deadline=DAY + 2 * HOUR))
    await settled()
    bench.limiters.limit({Modality.TEXT: [per_day(1)]})
    [ended] = await gathered([hurried])
    assert isinstance(ended, RateLimited)
    assert now() == HOUR
    await patient


@in_virtual_time
async def test_large_file_in_front_of_a_small_one() -> None:
    """A file that needs more minutes than are left until its deadline does not refuse a smaller one behind it."""
    quota = MemoryQuota()
    first, second = (Server(per_hour(60), quota=quota, modality=Modality.AUDIO) for _ in range(2))
    # Without the reports of `running`: the virtual clock must not advance while threads read the files.
    await embedded(first.limited_upstream, audio(30.0))
    large, small, later = start(
        second.limited_upstream,
        audio(50.0, deadline=now() + MINUTE),
        audio(1.0, deadline=now() + MINUTE),
        audio(2.0, deadline=now() + 2 * HOUR),
    )
    began = now()
    ended = await gathered([large, small, later])
    assert isinstance(ended[0], RateLimited)
    assert not isinstance(ended[1], BaseException), ended[1]
    assert not isinstance(ended[2], BaseException), ended[2]
    assert now() - began < 10


@in_virtual_time
async def test_a_limit_is_raised_while_the_store_is_asked() -> None:
    """The answer of the store about an earlier limit refuses no call that the present one allows."""
    first, second = servers(2, per_day(1))
    await embedded(first.limited_upstream, call())
    second.store.seconds = 0.04
    [waiting] = start(second.limited_upstream, call(deadline=now() + MINUTE))
    await asyncio.sleep(0.02)
    for server in (first, second):
        server.limiters.limit({Modality.TEXT: [per_day(5)]})
    await waiting


@in_virtual_time
async def test_longest_shared_back_off() -> None:
    """A back-off of the upstream beyond the longest one ends as early as without a store, and with a probe."""
    first, second = servers(2)
    first.upstream.script = lambda attempt: attempt.fail(limited(24 * HOUR))
    await gathered(start(first.limited_upstream, call()))
    first.upstream.script = Attempt.succeed
    await asyncio.sleep(2)
    for server in (first, second):
        with pytest.raises(RateLimited):
            await embedded(server.limited_upstream, call(deadline=now() + MINUTE))
    await asyncio.gather(*start(first.limited_upstream, call()), *start(second.limited_upstream, call()))
    assert now() < MAX_BACK_OFF + 5
