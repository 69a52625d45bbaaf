"""Quota store in one process."""

import asyncio
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.local_store import LocalQuotaStore
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, PastUsage
from tests.support.virtual_time import in_virtual_time, now

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MARGIN = 1.0  # allowance of a window for the time that a request is in transit
TEXT = Modality.TEXT
PER_MINUTE = RateLimit("text requests per minute", 10, MINUTE)
PER_DAY = RateLimit("text requests per day", 10, DAY)
MEDIA = RateLimit("audio minutes per hour", 10, HOUR, is_media=True)


def demand(requests: int, *limits: RateLimit, latest: float = math.inf, minutes: float = 0.0) -> Demand:
    return Demand(TEXT, limits or (PER_DAY,), requests, minutes, latest)


async def permits(store: LocalQuotaStore, *demands: Demand) -> list[int]:
    return [(await store.lease(one)).permits for one in demands]


class Step(NamedTuple):
    """What one of the workers does after a pause."""

    pause: float
    requests: int
    patience: float
    used: int
    delay: float


STEPS = st.builds(
    Step,
    st.one_of(st.just(0.0), st.floats(0, 3), st.floats(0, 70)),
    st.integers(1, 16),
    st.one_of(st.just(math.inf), st.floats(0, 100)),
    st.integers(0, 16),
    st.floats(0, LEASE_SECONDS),
)


async def follow(store: LocalQuotaStore, steps: Sequence[Step], *limits: RateLimit) -> list[float]:
    """Let workers lease and use permits, each use at any permitted time; return the times of the uses."""
    uses: list[float] = []
    held: list[Lease] = []
    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            await asyncio.sleep(step.pause)
            lease = await store.lease(demand(step.requests, *limits, latest=now() + step.patience))
            assert lease.available_at >= now()
            assert (lease.permits > 0) == (lease.available_at <= now() + step.patience)
            assert lease.available_at >= max((one.available_at for one in held), default=0.0), (
                "it overtakes another one"
            )
            if lease.permits:
                held.append(lease)
                tasks.create_task(use(store, lease, step, uses, held))
    return uses


async def use(store: LocalQuotaStore, lease: Lease, step: Step, uses: list[float], held: list[Lease]) -> None:
    used = min(step.used, lease.permits)
    if used or step.delay > LEASE_SECONDS / 2:  # else it is returned immediately
        await asyncio.sleep(lease.available_at + step.delay - now())
        uses += [now()] * used
    held.remove(lease)
    await store.settle(lease, lease.permits - used)


@given(st.integers(1, 20), st.integers(1, 40), st.lists(STEPS, min_size=1, max_size=60))
def test_no_window_exceeds_the_limits(per_minute: int, per_hour: int, steps: list[Step]) -> None:
    """For any demands, uses and returns, no window of any limit has more uses than it allows."""
    limits = RateLimit("a", per_minute, MINUTE), RateLimit("b", per_hour, HOUR)

    @in_virtual_time
    async def run() -> None:
        uses = await follow(LocalQuotaStore(), steps, *limits)
        for limit in limits:
            for start in uses:
                assert sum(start <= at < start + limit.seconds + MARGIN for at in uses) <= limit.amount

    run()


@given(st.integers(1, 30), st.lists(st.tuples(st.floats(0, 900), st.floats(0.01, 30), st.booleans()), max_size=40))
def test_no_window_exceeds_the_minutes_of_media(amount: int, steps: list[tuple[float, float, bool]]) -> None:
    """For any lengths of files, of which some are not sent, no hour has more minutes than the limit."""

    @in_virtual_time
    async def run() -> None:
        store, limit = LocalQuotaStore(), RateLimit("minutes", amount, HOUR, is_media=True)
        uses: list[tuple[float, float]] = []
        for pause, minutes, is_sent in steps:
            await asyncio.sleep(pause)
            lease = await store.lease(demand(1, limit, latest=now() + 2 * HOUR, minutes=minutes))
            await asyncio.sleep(lease.until - now() if lease.permits else 0)
            if lease.permits and is_sent:
                uses.append((now(), minutes))
            elif lease.permits:
                await store.settle(lease, 1)
        for start, _ in uses:
            window = [minutes for at, minutes in uses if start <= at < start + HOUR + MARGIN]
            assert sum(window) <= amount + 1e-6

    run()


@pytest.mark.parametrize(("amount", "wanted"), [(600, 16), (600, 1), (6000, 64), (30, 16)])
@in_virtual_time
async def test_a_backlog_uses_the_limit(amount: int, wanted: int) -> None:
    """Two workers that always want more use at least 95 % of the limit of each minute, and neither is starved."""
    store, limit = LocalQuotaStore(), RateLimit("requests per minute", amount, MINUTE)
    used: dict[int, int] = {0: 0, 1: 0}

    async def work(worker: int) -> None:
        while now() < 5 * MINUTE:
            lease = await store.lease(demand(wanted, limit))
            await asyncio.sleep(max(0.0, lease.available_at - now()))
            if now() >= MINUTE:
                used[worker] += lease.permits

    await asyncio.gather(work(0), work(1))
    assert 0.95 * amount * 4 <= sum(used.values()) <= amount * 4
    assert min(used.values()) >= 0.4 * sum(used.values())


@in_virtual_time
async def test_one_worker_uses_what_others_leave() -> None:
    """A worker gets all of a limit that no other one uses; then there is none until a window later."""
    store = LocalQuotaStore()
    assert await permits(store, demand(4), demand(16)) == [4, 6]
    await asyncio.sleep(1)
    refused = await store.lease(demand(1, latest=now() + HOUR))
    assert (refused.permits, refused.limit) == (0, PER_DAY)
    assert refused.available_at == refused.until == DAY + MARGIN + LEASE_SECONDS


@in_virtual_time
async def test_reservations_are_in_order() -> None:
    """Permits of a full limit are granted for a later time, in the order in which they were asked for."""
    store = LocalQuotaStore()
    await store.lease(demand(6))
    await asyncio.sleep(10_000)
    await store.lease(demand(4))
    first, second, third = [await store.lease(demand(wanted)) for wanted in (16, 16, 1)]
    assert [lease.available_at for lease in (first, second, third)] == [
        at + DAY + MARGIN + LEASE_SECONDS for at in (0, 10_000, DAY + MARGIN + LEASE_SECONDS)
    ]
    assert [lease.permits for lease in (first, second, third)] == [6, 4, 1]
    assert {lease.until - lease.available_at for lease in (first, second, third)} == {LEASE_SECONDS}
    assert not any(lease.is_settling for lease in (first, second, third))


@in_virtual_time
async def test_returned_permits_are_available() -> None:
    """Unused permits are immediately free for others, also at the even rate of a minute."""
    store = LocalQuotaStore()
    assert await permits(store, demand(1, PER_MINUTE)) == [1]
    lease = await store.lease(demand(16, PER_MINUTE, PER_DAY))
    await asyncio.sleep(lease.available_at - now())
    await store.settle(lease, lease.permits)
    again = await store.lease(demand(16, PER_MINUTE, PER_DAY))
    assert (again.available_at, again.permits) == (now(), lease.permits)


@in_virtual_time
async def test_a_returned_reservation_delays_no_other() -> None:
    """A reservation that is returned before its time counts as never made, and only once."""
    store = LocalQuotaStore()
    await store.lease(demand(9))
    later = await store.lease(demand(1, PER_DAY, RateLimit("b", 1, HOUR)))
    reserved = await store.lease(demand(1))
    assert (later.available_at, reserved.available_at) == (0.0, DAY + MARGIN + LEASE_SECONDS)
    await asyncio.sleep(10)
    for _ in range(2):
        await store.settle(reserved, 1)
    assert (await store.lease(demand(1, latest=now()))).permits == 0
    assert (await store.lease(demand(1))).available_at == reserved.available_at


@in_virtual_time
async def test_minutes_of_media() -> None:
    """Minutes are counted, corrected and returned; more than the limit is never available."""
    store = LocalQuotaStore()
    lease = await store.lease(demand(1, MEDIA, minutes=4.0))
    await store.settle(lease, 0, 5.0)
    assert (await store.lease(demand(1, MEDIA, minutes=1.5, latest=now()))).permits == 0
    await store.settle(lease, 0, -6.0)
    second = await store.lease(demand(1, MEDIA, minutes=7.0, latest=now()))
    assert second.permits == 1
    await store.settle(second, 1)
    assert (await store.lease(demand(1, MEDIA, minutes=6.5, latest=now()))).permits == 1
    too_long = await store.lease(demand(1, MEDIA, minutes=10.5))
    assert (too_long.permits, too_long.available_at, too_long.limit) == (0, math.inf, MEDIA)


@in_virtual_time
async def test_back_off_of_another_worker() -> None:
    """Permits are granted for the end of the longest back-off, which is reported with each lease."""
    store = LocalQuotaStore()
    for seconds in (3.0, 20.0, 1.0):
        await store.back_off(TEXT, seconds)
    await asyncio.sleep(5)
    refused = await store.lease(demand(1, latest=now() + 10))
    assert (refused.permits, refused.available_at, refused.limit, refused.back_off) == (0, 20.0, None, 15.0)
    granted = await store.lease(demand(1))
    assert (granted.permits, granted.available_at) == (1, 20.0)
    other = await store.lease(Demand(Modality.IMAGE, (), 3, 0.0, now()))
    assert (other.permits, other.available_at, other.back_off) == (3, now(), 0.0)


@in_virtual_time
async def test_report_without_a_permit() -> None:
    """A demand that wants no permit reserves nothing; what it reports as used counts from its own time."""
    store = LocalQuotaStore()
    await asyncio.sleep(HOUR)
    await store.lease(demand(2))
    past = {PER_DAY.name: [PastUsage(HOUR - 5, 3.0), PastUsage(0.0, 2.0)], "no such limit": [PastUsage(1.0, 1.0)]}
    report = demand(1, latest=-math.inf)._replace(unrecorded=past)
    assert await permits(store, report) == [0]
    leases = [await store.lease(demand(16, latest=math.inf)) for _ in range(2)]
    assert [lease.permits for lease in leases] == [3, 3]
    assert leases[1].available_at == 5 + DAY + MARGIN


@in_virtual_time
async def test_changed_limits() -> None:
    """New limits of a demand apply immediately, and past usage counts for them."""
    store = LocalQuotaStore()
    assert await permits(store, demand(8)) == [8]
    raised = RateLimit(PER_DAY.name, 20, DAY)
    assert await permits(store, demand(16, raised)) == [12]


@in_virtual_time
async def test_the_store_has_a_bounded_size() -> None:
    """Usage that is reported and leased all day long is kept in few parts, and old reservations are dropped."""
    store, limit = LocalQuotaStore(), RateLimit("b", 1_000_000, DAY)
    for number in itertools.count():
        if now() > 2 * DAY:
            break
        await asyncio.sleep(60)
        past = {"b": [PastUsage(float(number % 7) * 1000, 1.0)]}
        await store.lease(demand(1, limit)._replace(unrecorded=past))
    [window] = store._quotas[TEXT]._windows.values()  # its size is not visible from outside
    assert len(window._usages) <= 2 * 64 + 2
