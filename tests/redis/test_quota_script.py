"""The script of the quota store, in simulated time: limits, spacing, order, settling, back-off, loss of the state."""

import math

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.redis_store import SETTLING_SECONDS, RedisQuotaStore
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, PastUsage, UsageHistory
from tests.support.simulated_redis import SimulatedRedis, advance, with_simulated_redis
from tests.support.virtual_time import now

MINUTE = RateLimit("text requests per minute", 60, 60.0)
DAY = RateLimit("text requests per day", 100, 86400.0)
MEDIA = RateLimit("audio media_minutes per hour", 10, 3600.0, is_media=True)
KEY = "embedwire:quota:{n}:text"


def demand(limits: list[RateLimit], requests: int = 1, minutes: float = 0.0, wait: float = 1e6) -> Demand:
    return Demand(Modality.TEXT, limits, requests, minutes, now() + wait)


async def lease(
    store: RedisQuotaStore, limits: list[RateLimit], requests: int = 1, minutes: float = 0.0, wait: float = 1e6
) -> Lease:
    return await store.lease(demand(limits, requests, minutes, wait), dict)


async def settled(*stores: RedisQuotaStore) -> None:
    """Begin the state, and let it settle."""
    for store in stores:
        await lease(store, [], wait=-math.inf)
    advance(SETTLING_SECONDS)


def waits(one: Lease) -> float:
    return round(one.available_at - now(), 6)


@with_simulated_redis
async def test_a_burst_then_the_even_rate(redis: SimulatedRedis) -> None:
    """Of a limit per minute, about 2 s are granted immediately; the rest is spaced, in the order of the requests."""
    first, second = redis.store(), redis.store()
    granted = [await lease(store, [MINUTE], 10) for store in (first, second, first)]
    assert [one.permits for one in granted] == [3, 1, 1]
    spacing = 61 / 60
    assert [waits(one) for one in granted] == [0.0, pytest.approx(3 * spacing - 2), pytest.approx(4 * spacing - 2)]
    assert granted[0].limit is None
    assert granted[1].limit == MINUTE
    assert granted[1].until == pytest.approx(granted[1].available_at + LEASE_SECONDS)


@with_simulated_redis
async def test_fewer_permits_now_rather_than_all_later(redis: SimulatedRedis) -> None:
    """What is available is granted, also if more is asked for; the next ones are for a window later."""
    store = redis.store()
    await settled(store)
    assert (await lease(store, [DAY], 90)).permits == 90
    rest = await lease(store, [DAY], 90)
    assert (rest.permits, waits(rest)) == (10, 0.0)
    later = await lease(store, [DAY], 5)
    assert later.permits == 5
    assert 86400 < waits(later) < 86400 + 2 * 86400 / 128


@with_simulated_redis
async def test_nothing_is_reserved_after_the_latest_time(redis: SimulatedRedis) -> None:
    """If the limits allow a permit only after the latest time, none is granted, and the time is reported."""
    store = redis.store()
    await settled(store)
    await lease(store, [DAY], 100)
    for _ in range(2):
        refused = await lease(store, [DAY], 5, wait=100.0)
        assert (refused.permits, refused.limit, refused.until) == (0, DAY, refused.available_at)
    assert waits(await lease(store, [DAY], 5)) == waits(refused)


@with_simulated_redis
async def test_returned_permits_can_be_granted_again(redis: SimulatedRedis) -> None:
    """Permits that are settled as unused, now or in a reservation, are free for other servers, with their spacing."""
    first, second = redis.store(), redis.store()
    await settled(first, second)
    day = await lease(first, [DAY], 100)
    reserved = await lease(first, [DAY], 5)
    assert reserved.permits == 5
    await first.settle(reserved, 5)
    await first.settle(day, 30)
    granted = await lease(second, [DAY], 100)
    assert (granted.permits, waits(granted)) == (30, 0.0)
    burst = await lease(first, [MINUTE], 10)
    await first.settle(burst, burst.permits)
    assert (await lease(second, [MINUTE], 10)).permits == burst.permits


@with_simulated_redis
async def test_a_late_return_does_not_change_the_spacing(redis: SimulatedRedis) -> None:
    """Permits that are returned after they have expired free the window, but not the burst of others."""
    first, second = redis.store(), redis.store()
    burst = await lease(first, [MINUTE], 10)
    advance(10)
    assert (await lease(second, [MINUTE], 10)).permits == 3
    await first.settle(burst, burst.permits)
    assert waits(await lease(second, [MINUTE], 10)) > 1


@with_simulated_redis
async def test_minutes_of_media(redis: SimulatedRedis) -> None:
    """Minutes are counted, corrected and returned; a file that exceeds the limit is never allowed."""
    store = redis.store()
    one = await lease(store, [MEDIA], 1, 8.0)
    assert (one.permits, waits(one)) == (1, 0.0)
    assert waits(await lease(store, [MEDIA], 1, 4.0)) > 3600
    await store.settle(one, 0, -3.0)
    other = await lease(store, [MEDIA], 1, 4.0, wait=0.0)
    assert other.permits == 1
    await store.settle(other, 1)
    assert (await lease(store, [MEDIA], 1, 5.0, wait=0.0)).permits == 1
    assert (await lease(store, [MEDIA], 1, 0.0, wait=0.0)).permits == 0
    never = await lease(store, [MEDIA], 1, 10.5)
    assert (never.permits, never.available_at, never.limit) == (0, math.inf, MEDIA)


@with_simulated_redis
async def test_several_limits(redis: SimulatedRedis) -> None:
    """All limits of a demand apply together; the one that decides is reported."""
    store, both = redis.store(), [MINUTE, RateLimit("text requests per day", 4, 86400.0)]
    assert [(await lease(store, both, 10)).permits for _ in range(2)] == [3, 1]
    assert (await lease(store, both, 10)).limit == both[1]
    assert (await lease(store, [MINUTE], 10, wait=100)).limit == MINUTE
    assert (await lease(store, [], 10)).permits == 10


@with_simulated_redis
async def test_limits_that_differ(redis: SimulatedRedis) -> None:
    """During a rollout, each server gets what its own amount allows beyond the usage of all."""
    before, after = redis.store(), redis.store()
    lower = [RateLimit(DAY.name, 40, DAY.seconds)]
    assert (await lease(after, lower, 100)).permits == 40
    assert (await lease(before, [DAY], 100)).permits == 60
    assert (await lease(after, lower, 1, wait=1)).permits == 0
    assert (await lease(before, [RateLimit(DAY.name, 101, DAY.seconds)], 5)).permits == 1


@with_simulated_redis
async def test_back_off(redis: SimulatedRedis) -> None:
    """The longest back-off of all servers delays all of them, and is reported with the next answer."""
    first, second = redis.store(), redis.store()
    await settled(second)
    await first.back_off(Modality.TEXT, 30.0)
    await first.back_off(Modality.TEXT, 10.0)
    delayed = await lease(second, [DAY])
    assert (waits(delayed), round(delayed.back_off, 6), delayed.limit) == (30.0, 30.0, None)
    assert (await lease(second, [DAY], wait=20)).permits == 0
    other = await second.lease(Demand(Modality.AUDIO, [], 1, 0.0, math.inf), dict)
    assert (other.back_off, waits(other)) == (0.0, 0.0)


@with_simulated_redis
async def test_a_report_takes_nothing(redis: SimulatedRedis) -> None:
    """A demand without a latest time gets no permit, and learns of a back-off."""
    store = redis.store()
    await store.back_off(Modality.TEXT, 5.0)
    for _ in range(3):
        answer = await lease(store, [DAY], 100, wait=-math.inf)
        assert (answer.permits, round(answer.back_off, 6)) == (0, 5.0)
    advance(5)
    assert (await lease(store, [DAY], 100)).permits == 100


@with_simulated_redis
async def test_latency_is_counted_on_both_ends(redis: SimulatedRedis) -> None:
    """A permit is usable from the arrival of the answer at the earliest, and until its end by the time of sending."""
    store = redis.store()
    await lease(store, [DAY])
    redis.latency = lambda: 0.02
    sent = now()
    one = await lease(store, [DAY])
    assert one.available_at == pytest.approx(sent + 0.04)
    assert one.until == pytest.approx(sent + LEASE_SECONDS)


def used(amount: float, age: float = 1.0) -> UsageHistory:
    return {DAY.name: [PastUsage(age, amount)], "of a limit that was removed": [PastUsage(age, 1.0)]}


@with_simulated_redis
async def test_a_new_state_takes_the_usage_of_all(redis: SimulatedRedis) -> None:
    """After a loss, each server reports its usage before it gets permits, once; the store is settling for 5 s."""
    first, second = redis.store(), redis.store()
    for store in (first, second):
        await lease(store, [DAY], 30)
    await redis.redis.flushall()
    one = await first.lease(demand([DAY], 100), lambda: used(30))
    assert (one.permits, one.is_settling) == (70, True)
    await first.settle(one, 70)
    assert (await second.lease(demand([DAY], 100), lambda: used(30))).permits == 40
    advance(SETTLING_SECONDS - 0.01)
    assert (await lease(first, [DAY], wait=-math.inf)).is_settling
    advance(0.02)
    assert not (await first.lease(demand([DAY], wait=-math.inf), lambda: used(1000))).is_settling


@with_simulated_redis
async def test_permits_of_a_settling_state_end_with_it(redis: SimulatedRedis) -> None:
    """No permit can be used after the settling, since not all usage is known before; until then none is withheld."""
    store, settled = redis.store(), now() + SETTLING_SECONDS
    granted = await lease(store, [MINUTE], 10)
    ends = []
    while granted.permits:
        assert granted.available_at < settled
        ends.append(granted.until)
        granted = await lease(store, [MINUTE], 10)
    assert max(ends) <= settled + 1e-6
    assert granted.available_at >= settled
    advance(SETTLING_SECONDS - 0.1)
    almost = await lease(store, [DAY])
    assert (almost.permits, waits(almost)) == (1, 0.0)
    assert almost.until == pytest.approx(settled)
    advance(0.1)
    assert (await lease(store, [MINUTE], 10)).permits


@with_simulated_redis
async def test_usage_without_the_store_is_added_once(redis: SimulatedRedis) -> None:
    """Usage while the store was unavailable is added; if the answer to the report is lost, it is not added again."""
    store = redis.store()
    await lease(store, [DAY])

    latencies = iter([0.01])  # before the script; there is none for the answer
    redis.latency = lambda: next(latencies)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await store.lease(demand([DAY], wait=-math.inf)._replace(unrecorded=used(20)), dict)
    redis.latency = float
    advance(5)
    again: UsageHistory = {DAY.name: [PastUsage(6.0, 20.0), PastUsage(1.0, 5.0)]}
    await store.lease(demand([DAY], wait=-math.inf)._replace(unrecorded=again), dict)
    assert (await lease(store, [DAY], 100)).permits == 100 - 1 - 20 - 5


@with_simulated_redis
async def test_settling_of_a_lost_lease_is_ignored(redis: SimulatedRedis) -> None:
    """Permits of a state that is lost are not returned to the new one."""
    store = redis.store()
    old = await lease(store, [DAY], 50)
    await redis.redis.flushall()
    await store.lease(demand([DAY], wait=-math.inf), lambda: used(50))
    await store.settle(old, 50)
    assert (await lease(store, [DAY], 100)).permits == 50


CORRUPT = [
    b"",
    b"\xc1",
    b"\x01",
    b"\x81\xa1v\x01",
    b"\x82\xa1v\x01\xa6limits\x01",
    b"\x81\xa1v\x63",
    b"{}",
    b"\x91" * 40,
]


@pytest.mark.parametrize("value", CORRUPT)
@with_simulated_redis
async def test_a_value_that_is_not_ours(redis: SimulatedRedis, value: bytes) -> None:
    """Any other value under the key, also of another type, is treated as a lost state."""
    store = redis.store()
    await lease(store, [DAY])
    await redis.redis.set(KEY, value)
    assert (await store.lease(demand([DAY], 100), lambda: used(60))).permits == 40
    await redis.redis.delete(KEY)
    await redis.redis.lpush(KEY, value)
    assert (await store.lease(demand([DAY], 100), lambda: used(60))).permits == 40


@with_simulated_redis
async def test_the_key_expires_with_its_windows(redis: SimulatedRedis) -> None:
    """The key is kept for as long as usage or a back-off counts, and at least for a minute."""
    store = redis.store()
    await lease(store, [MINUTE])
    assert await redis.redis.keys() == [KEY.encode()]
    assert 61_000 < await redis.redis.pttl(KEY) < 63_000
    await lease(store, [DAY])
    assert 86400 < await redis.redis.pttl(KEY) / 1000 < 86400 * 1.02
    await redis.redis.flushall()
    await store.back_off(Modality.TEXT, 300.0)
    assert 299_000 < await redis.redis.pttl(KEY) <= 300_000


@with_simulated_redis
async def test_limits_that_were_removed(redis: SimulatedRedis) -> None:
    """Usage of a limit that no server has any longer is dropped once it has expired."""
    store = redis.store()
    await lease(store, [MINUTE])
    advance(100)
    await lease(store, [DAY])
    size = await redis.redis.strlen(KEY)
    await redis.redis.flushall()
    await lease(store, [DAY])
    assert size == await redis.redis.strlen(KEY)


@with_simulated_redis
async def test_the_clock_of_redis_goes_back(redis: SimulatedRedis) -> None:
    """If the clock of the server goes back, time continues: nothing waits for the difference, nothing counts less."""
    store = redis.store()
    await lease(store, [MINUTE, DAY])
    redis.skew = -7200
    assert waits(await lease(store, [MINUTE, DAY])) == 0.0
    advance(70)
    assert (await lease(store, [MINUTE], 10)).permits == 3
    assert (await lease(store, [DAY], 100)).permits == 98
