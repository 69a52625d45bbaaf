"""Calls whose permits come from a quota store."""

import asyncio

import pytest

from embedwire_server.core.errors import RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.leases import MAX_PERMITS
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS
from tests.support.embed_calls import call, embedded, gathered, limited, start, undecided
from tests.support.quota_store import MemoryQuota, most_in_a_window
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.shared_support import Server, running, servers
from tests.unit.policies.rate_limit.support import MINUTE, per_day


def per_minute(amount: int) -> RateLimit:
    return RateLimit("text requests per minute", amount, MINUTE)


@in_virtual_time
async def test_first_call_waits_for_the_store() -> None:
    """A call without a permit waits for one answer of the store; the next calls use what is left, without waiting."""
    server = Server()
    server.store.seconds = 0.02
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(10)]))
    assert server.times == pytest.approx([0.02] * 10)
    await asyncio.sleep(0.03)
    before = now()
    await embedded(server.limited_upstream, call())

    assert now() == before
    assert len(server.store.leases) == 2


@in_virtual_time
async def test_size_of_leases() -> None:
    """A lease has as many permits as calls wait, at most what the limit allows in its time."""
    server = Server(per_minute(1200))
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(4)]))
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(100)]))
    without_limit = Server()
    await asyncio.gather(*start(without_limit.limited_upstream, *[call() for _ in range(100)]))

    assert server.store.leases[0].requests == 4
    assert max(demand.requests for demand in server.store.leases) == 1200 * LEASE_SECONDS / MINUTE
    assert max(demand.requests for demand in without_limit.store.leases) == MAX_PERMITS


@in_virtual_time
async def test_callers_keys_do_not_use_the_store() -> None:
    """A call with its caller's own key needs no permit."""
    server = Server(per_minute(1))
    await asyncio.gather(*start(server.limited_upstream, *[call(credential="a") for _ in range(20)]))

    assert server.times == [0.0] * 20
    assert not server.store.leases


@in_virtual_time
async def test_unused_permits_are_returned() -> None:
    """Permits that are not used in time are returned, as are those that are reserved for calls that have left."""
    server = Server(per_minute(60))
    quota = server.store.quota
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(3)]))
    waiting = start(server.limited_upstream, *[call() for _ in range(3)])
    await asyncio.sleep(0.1)
    for task in waiting:
        task.cancel()
    await gathered(waiting)
    await asyncio.sleep(2 * LEASE_SECONDS)

    counted = sum(entry.requests for entries in quota.entries.values() for entry in entries)
    assert counted == len(server.times)


@in_virtual_time
async def test_permits_are_returned_at_the_end() -> None:
    """A server that stops returns its permits."""
    server = Server(per_minute(1200))
    async with running([server]):
        await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(30)]))
        await asyncio.sleep(0.01)
    [entries] = [entries for entries in server.store.quota.entries.values() if entries]

    assert sum(entry.requests for entry in entries) == 30


@in_virtual_time
async def test_store_that_hangs_at_the_end() -> None:
    """A server stops although the store does not respond."""
    server = Server(per_minute(1200))
    async with running([server]):
        await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(30)]))
        server.store.seconds = 1e9
        ended = now()

    assert now() - ended < 0.5


@in_virtual_time
async def test_call_that_cannot_meet_its_deadline() -> None:
    """A call that the shared limit allows only after its deadline is refused immediately, with the limit and delay."""
    first, second = servers(2, per_day(2))
    await asyncio.gather(*start(first.limited_upstream, call(), call()))
    began = now()
    with pytest.raises(RateLimited, match="at most 2") as caught:
        await embedded(second.limited_upstream, call(deadline=now() + 5.0))

    assert now() - began < 0.01
    assert [quota.subject for quota in caught.value.quotas] == ["text requests per day"]
    assert caught.value.retry_delay == pytest.approx(24 * 3600, abs=1)
    assert second.sample("embedwire_rate_limit_rejections_total", limit="text requests per day") == 1


@in_virtual_time
async def test_call_behind_a_queue_is_refused() -> None:
    """A call is refused immediately if the calls ahead of it alone take longer than its deadline."""
    server = Server(per_minute(60))
    tasks = start(server.limited_upstream, *[call() for _ in range(30)])
    await asyncio.sleep(1)
    with pytest.raises(RateLimited):
        await embedded(server.limited_upstream, call(deadline=now() + 10.0))
    assert now() == 1.0
    await gathered(tasks)

    assert len(server.times) == 30


@in_virtual_time
async def test_reserved_call_is_not_refused() -> None:
    """A call whose permit is reserved for later is not refused when the store has none before."""
    server = Server(per_minute(6))
    async with running([server]):
        await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(2)]))
        await embedded(server.limited_upstream, call(deadline=now() + 30))

    assert len(server.times) == 3


@in_virtual_time
async def test_returned_permits_are_used() -> None:
    """A call that waits for a later permit uses one that another server returns."""
    first, second = servers(2, per_day(20))
    async with running([first, second]):
        await asyncio.gather(*start(first.limited_upstream, *[call() for _ in range(9)]))
        await asyncio.gather(*start(second.limited_upstream, *[call() for _ in range(3)]))

    assert max(second.times) < 5


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.049])
@in_virtual_time
async def test_cancelled_calls(seconds: float) -> None:
    """A call that is cancelled, at whatever moment, keeps no permit that it does not use."""
    server = Server(per_minute(600))
    server.store.seconds = seconds
    tasks = start(server.limited_upstream, *[call() for _ in range(4)])
    asyncio.get_running_loop().call_at(seconds, tasks[1].cancel)
    asyncio.get_running_loop().call_at(seconds, lambda: asyncio.get_running_loop().call_soon(tasks[2].cancel))
    await gathered(tasks)
    await asyncio.sleep(2)
    [entries] = [entries for entries in server.store.quota.entries.values() if entries]

    assert sum(entry.requests for entry in entries) == len(server.times)
    await embedded(server.limited_upstream, call())


@in_virtual_time
async def test_back_off_is_shared() -> None:
    """A back-off of one server stops the calls of another, also without limits, and is recorded once."""
    first, second = servers(2)
    async with running([first, second]):
        await asyncio.gather(*start(second.limited_upstream, *[call() for _ in range(3)]))
        first.upstream.script = lambda attempt: attempt.fail(limited(30.0))
        await gathered(start(first.limited_upstream, call()))
        ends = now() + 30
        await asyncio.sleep(1.5)
        waiting = start(second.limited_upstream, call(), call())
        with pytest.raises(RateLimited, match="which asked to wait"):
            await embedded(second.limited_upstream, call(deadline=now() + 10))
        await asyncio.gather(*waiting)

    assert second.times[3:] == pytest.approx([ends] * 2, abs=0.1)
    assert len(first.store.back_offs) == 1
    assert second.store.back_offs == []
    assert second.sample("embedwire_rate_limit_backoffs_total") == 0


@in_virtual_time
async def test_changed_limits() -> None:
    """New limits apply from the next lease on; permits of the old ones are returned."""
    server = Server(per_minute(1200))
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(10)]))
    server.limiters.limit({Modality.TEXT: [per_day(12)]})
    await settled()
    server.upstream.script = undecided
    tasks = start(server.limited_upstream, *[call(deadline=now() + 60) for _ in range(20)])
    await asyncio.sleep(1)

    assert sum(not task.done() for task in tasks) == 12 - 10
    for task in tasks:
        task.cancel()
    await gathered(tasks)


@in_virtual_time
async def test_limit_of_several_servers() -> None:
    """Three servers with more calls than the limit stay within it, use it, and none of them starves."""
    quota = MemoryQuota()
    several = servers(3, per_minute(120), quota=quota)
    minutes = 5
    async with running(several):
        tasks = [task for one in several for task in start(one.limited_upstream, *[call() for _ in range(400)])]
        began = now()
        await asyncio.sleep(minutes * MINUTE)
        for task in tasks:
            task.cancel()
        await gathered(tasks)
    all_times = sorted(time for one in several for time in one.times)

    assert most_in_a_window(all_times, MINUTE) <= 120
    assert len(all_times) >= 0.95 * 120 * minutes
    for one in several:
        assert len([time for time in one.times if time >= began]) >= 0.25 * 120 * minutes
