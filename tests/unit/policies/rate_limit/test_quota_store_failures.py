"""A quota store that fails: no call is lost or delayed by it, and each server keeps to its part of the limits."""

import asyncio
from collections.abc import Callable

import pytest

from embedwire_server.core.errors import RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.shared_quota import SETTLING_SECONDS
from embedwire_server.policies.rate_limit.store import QuotaStoreUnavailable
from tests.support.embed_calls import call, embedded, gathered, start
from tests.support.quota_store import most_in_a_window
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.shared_support import Server, running, servers
from tests.unit.policies.rate_limit.support import HOUR, MINUTE, audio, per_day, per_hour
from tests.unit.policies.rate_limit.test_shared_quota import per_minute


def _hang(server: Server) -> None:
    server.store.seconds = 1e9


def _raise(error: Callable[[], BaseException]) -> Callable[[Server], None]:
    def fail(server: Server) -> None:
        server.store.failure = error

    return fail


FAILURES = [
    pytest.param(_raise(lambda: QuotaStoreUnavailable("gone")), id="unavailable"),
    pytest.param(_raise(asyncio.CancelledError), id="cancelled"),
    pytest.param(_raise(lambda: ValueError("a defect")), id="defect"),
    pytest.param(_hang, id="hangs"),
]


@pytest.mark.parametrize("fail", FAILURES)
@in_virtual_time
async def test_calls_are_granted_without_the_store(fail: Callable[[Server], None]) -> None:
    """When the store fails, waiting calls are granted by this server's part of the limit, later ones immediately."""
    server = Server(per_day(40), shares=2)
    fail(server)
    waiting = start(server.limited_upstream, *[call() for _ in range(5)])
    await asyncio.gather(*waiting)
    assert now() <= 0.1
    assert not server.is_shared
    failed_at = now()
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(15)]))
    assert now() == failed_at
    with pytest.raises(RateLimited, match="at most 20"):
        await embedded(server.limited_upstream, call(deadline=now() + 5))
    assert len(server.store.leases) == 1


@in_virtual_time
async def test_own_use_counts() -> None:
    """What the server has used through the store counts in its part of the limit."""
    server = Server(per_day(10), shares=2)
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(4)]))
    server.cut_off()
    async with running([server]):
        await embedded(server.limited_upstream, call())
        with pytest.raises(RateLimited, match="at most 5"):
            await embedded(server.limited_upstream, call(deadline=now() + 5))


@in_virtual_time
async def test_waiting_calls_are_rejected_if_the_part_is_used_up() -> None:
    """When the store fails, a call behind others is rejected if this server's part allows it after its deadline."""
    server = Server(per_day(10), shares=2)
    await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(4)]))
    server.cut_off()
    *patient, impatient = start(server.limited_upstream, *[call() for _ in range(4)], call(deadline=now() + 5))
    began = now()
    with pytest.raises(RateLimited, match="at most 5"):
        await impatient
    assert now() - began <= 0.1
    for task in patient:
        task.cancel()
    await gathered(patient)


@in_virtual_time
async def test_store_is_asked_once_a_second() -> None:
    """While the store fails, calls do not ask it; each modality asks it once a second, and returns to it."""
    server = Server(per_minute(6000))
    async with running([server]):
        server.cut_off()
        await embedded(server.limited_upstream, call())
        before = len(server.store.reports)
        for _ in range(100):
            await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(5)]))
            await asyncio.sleep(0.1)
        assert len(server.store.reports) - before <= 11 * len(Modality)
        assert len(server.store.leases) <= 2
        server.reconnect()
        await asyncio.sleep(1.1)
        assert server.is_shared
        await embedded(server.limited_upstream, call())
        assert len(server.store.leases) > 1


@in_virtual_time
async def test_idle_server_notices() -> None:
    """A server without calls notices within about a second that the store is gone, and that it is back."""
    server = Server(per_minute(60))
    async with running([server]):
        server.cut_off()
        await asyncio.sleep(1.1)
        assert not server.is_shared
        server.reconnect()
        await asyncio.sleep(1.1)
        assert server.is_shared


@in_virtual_time
async def test_use_without_the_store_is_reported() -> None:
    """What was used without the store counts in it afterwards, once, so that the limit is not granted again."""
    first, second = servers(2, per_day(20))
    async with running([first, second]):
        await asyncio.gather(*start(first.limited_upstream, *[call() for _ in range(2)]))
        first.cut_off()
        second.cut_off()
        await asyncio.sleep(1.1)
        for server in (first, second):
            await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(6)]))
            server.reconnect()
        await asyncio.sleep(10)
        tasks = start(second.limited_upstream, *[call(deadline=now() + 5) for _ in range(10)])
        ended = await gathered(tasks)

    assert sum(isinstance(one, RateLimited) for one in ended) == 4
    assert len(first.times) + len(second.times) == 20


@pytest.mark.parametrize("is_reported", [True, False])
@in_virtual_time
async def test_minutes_without_the_store(*, is_reported: bool) -> None:
    """Minutes of media of unknown length count in the store, also if they become known after the store is back."""
    server = Server(per_hour(20), shares=1, modality=Modality.AUDIO)
    limiter = server.limiters.of(audio())
    async with running([server]):
        server.cut_off()
        await asyncio.sleep(1.1)
        reservation = Reservation(0.0)
        assert limiter.try_acquire(reservation, audio())
        if is_reported:
            server.reconnect()
            await asyncio.sleep(5)
        limiter.reconcile(reservation, 15.0)
        server.reconnect()
        await asyncio.sleep(5)
        with pytest.raises(RateLimited):
            await embedded(server.limited_upstream, audio(6.0, deadline=now() + HOUR / 2))
        await embedded(server.limited_upstream, audio(4.0, deadline=now() + HOUR / 2))


@in_virtual_time
async def test_file_above_this_servers_part() -> None:
    """A file that exceeds this server's part of a limit, but not the limit, is refused with a delay and the reason."""
    server = Server(per_hour(20), shares=4, modality=Modality.AUDIO)
    server.cut_off()
    with pytest.raises(RateLimited, match="quota store is unavailable") as caught:
        await embedded(server.limited_upstream, audio(6.0))
    assert caught.value.retry_delay
    with pytest.raises(RateLimited, match="split the file"):
        await embedded(server.limited_upstream, audio(21.0))


@in_virtual_time
async def test_limit_smaller_than_the_number_of_servers() -> None:
    """A limit of which a server's part is 0 allows no call without the store."""
    server = Server(per_minute(3), shares=4)
    server.cut_off()
    with pytest.raises(RateLimited, match="at most 0"):
        await embedded(server.limited_upstream, call())


@in_virtual_time
async def test_store_that_grants_nothing() -> None:
    """A store that never grants a permit is asked at most ten times a second; calls end at their deadlines."""
    server = Server(per_minute(600))
    server.store.grants = False
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await embedded(server.limited_upstream, call(deadline=10.0))

    assert len(server.store.leases) <= 101
    server.store.grants = True
    await embedded(server.limited_upstream, call())


@in_virtual_time
async def test_settling_store() -> None:
    """While the store has not the usage of all servers, both the permits and this server's part restrict it."""
    server = Server(per_day(10), shares=2)
    server.store.quota.is_settling = True
    async with running([server]):
        await asyncio.sleep(1)
        tasks = start(server.limited_upstream, *[call(deadline=now() + 5) for _ in range(8)])
        ended = await gathered(tasks)
        assert sum(isinstance(one, RateLimited) for one in ended) == 3
        server.store.quota.is_settling = False
        await asyncio.sleep(2)
        await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(5)]))


@in_virtual_time
async def test_store_that_has_lost_its_state() -> None:
    """A store that has lost its state gets the usage of all servers, and grants only what is left."""
    first, second = servers(2, per_day(20))
    async with running([first, second]):
        for server in (first, second):
            await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(7)]))
        first.store.quota.lose_state()
        await asyncio.sleep(2)
        tasks = [
            task
            for one in (first, second)
            for task in start(one.limited_upstream, *[call(deadline=now() + 5) for _ in range(7)])
        ]
        await gathered(tasks)

    assert len(first.times) + len(second.times) == 20


@in_virtual_time
async def test_flapping_store() -> None:
    """Calls continue while the store fails and recovers every few seconds."""
    server = Server(per_minute(6000))
    async with running([server]):
        for number in range(40):
            server.store.failure = (lambda: QuotaStoreUnavailable("flaps")) if number % 2 else None
            before = now()
            await asyncio.gather(*start(server.limited_upstream, *[call() for _ in range(10)]))
            assert now() - before < 0.3
            await asyncio.sleep(1.3)

    assert most_in_a_window(server.times, MINUTE) <= 6000
    await settled()


@in_virtual_time
async def test_permits_for_later_are_returned_after_an_outage() -> None:
    """Once all servers have reported their usage, a permit for a later time is requested again: it may be too early."""
    limit = per_minute(60)
    server = Server(limit, shares=2)
    async with running([server]):
        server.cut_off()
        await embedded(server.limited_upstream, call())
        server.reconnect()
        await asyncio.sleep(1.1)
        assert server.is_shared
        server.store.quota.next[limit.name] = now() + 30
        [waiting] = start(server.limited_upstream, call())
        await asyncio.sleep(0.1)
        assert not server.store.settled
        await asyncio.sleep(SETTLING_SECONDS)
        assert [unused for _, unused, _ in server.store.settled] == [1]
        waiting.cancel()
        await gathered([waiting])
