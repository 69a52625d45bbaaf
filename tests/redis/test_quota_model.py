"""Random replicas on one quota store: the uses that the upstream counts exceed a limit in no window."""

import dataclasses
import heapq
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.redis_store import SETTLING_SECONDS, RedisQuotaStore
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import Demand, Lease, PastUsage, UsageHistory
from tests.support.simulated_redis import SimulatedRedis, advance, with_simulated_redis
from tests.support.virtual_time import now

MINUTE = RateLimit("requests per minute", 40, 60.0)
UNEVEN = RateLimit("requests per minute, not spread", 40, 60.0, is_spread=False)
HOUR = RateLimit("requests per hour", 90, 3600.0)
MEDIA = RateLimit("minutes per minute", 20, 60.0, is_media=True)
SETS = [[MINUTE], [UNEVEN], [UNEVEN, HOUR], [MEDIA], [MINUTE, MEDIA]]
REPLICAS = 3
DELAY = 0.9  # of a request on its way to the upstream; less than the margin of 1 s


class Upstream:
    """Counts requests and minutes when they arrive."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.arrived: list[tuple[float, float]] = []  # time, minutes

    def send(self, minutes: float) -> None:
        self.arrived.append((now() + self._chance.choice([0.0, DELAY * self._chance.random(), DELAY]), minutes))

    def most(self, limit: RateLimit, since: float = 0.0) -> float:
        """The most that any window of this limit counts that begins after `since`."""
        uses = sorted((at, minutes if limit.is_media else 1.0) for at, minutes in self.arrived if at > since)
        most, total, first = 0.0, 0.0, 0
        for at, amount in uses:
            total += amount
            while uses[first][0] <= at - limit.seconds:
                total -= uses[first][1]
                first += 1
            most = max(most, total)
        return most


@dataclasses.dataclass(eq=False)
class Replica:
    """A server that keeps the rules of the store: it reports, and keeps to its part while the store settles."""

    store: RedisQuotaStore
    limits: Sequence[RateLimit]
    upstream: Upstream
    chance: random.Random
    used: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    held: set[Lease] = dataclasses.field(default_factory=set)
    is_settling: bool = False
    cut_until: float = 0.0

    @property
    def is_cut(self) -> bool:
        """Whether it cannot reach the store."""
        return now() < self.cut_until

    def cut(self, seconds: float) -> None:
        self.cut_until = now() + seconds
        self.held.clear()

    async def ask(self, requests: int, minutes: float, wait: float) -> Lease:
        demand = Demand(Modality.TEXT, self.limits, requests, minutes, now() + wait)
        lease = await self.store.lease(demand, self._history)
        self.is_settling = lease.is_settling
        if lease.permits:
            assert now() <= lease.available_at <= demand.latest + 0.1
            self.held.add(lease)
        return lease

    def _history(self) -> UsageHistory:
        self.held.clear()  # the new state does not know them
        return {
            limit.name: [PastUsage(now() - at, minutes if limit.is_media else 1.0) for at, minutes in self.used]
            for limit in self.limits
        }

    def use(self, minutes: float) -> bool:
        if (self.is_settling or self.is_cut) and not all(self._has_part(limit, minutes) for limit in self.limits):
            return False
        self.used.append((now(), minutes))
        self.upstream.send(minutes)
        return True

    def _has_part(self, limit: RateLimit, minutes: float) -> bool:
        recent = [of for at, of in self.used if at > now() - limit.seconds - 1]
        total = sum(recent) + minutes if limit.is_media else len(recent) + 1
        return total <= limit.amount // REPLICAS


class Simulation:
    """Replicas, and what will happen at which time."""

    def __init__(self, redis: SimulatedRedis, limits: Sequence[RateLimit], seed: int) -> None:
        self.chance = random.Random(seed)
        self.redis = redis
        self.redis.latency = lambda: self.chance.choice([0.0, 0.001, 0.02])
        self.limits = limits
        self.upstream = Upstream(self.chance)
        self.replicas = [Replica(redis.store(), limits, self.upstream, self.chance) for _ in range(REPLICAS)]
        self._events: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
        self._numbers = itertools.count()
        self.refusals = 0
        for replica in self.replicas:
            self._report(replica)

    @property
    def counts_media(self) -> bool:
        return any(limit.is_media for limit in self.limits)

    def at(self, time: float, event: Callable[[], Awaitable[None]]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    async def run(self, seconds: float, pause: float) -> None:
        end = now() + seconds
        while now() < end:
            await self._pass(now() + self.chance.expovariate(1 / pause))
            await self._demand(self.chance.choice(self.replicas))

    async def _pass(self, until: float) -> None:
        """Let everything happen that is due until then."""
        while self._events and self._events[0][0] <= until:
            time, _, event = heapq.heappop(self._events)
            advance(max(0.0, time - now()))
            await event()
        advance(max(0.0, until - now()))

    def _report(self, replica: Replica) -> None:
        async def ask() -> None:
            if not replica.is_cut:
                await replica.ask(1, 0.0, -float("inf"))
            self._report(replica)

        self.at(max(now() + 1.0, replica.cut_until), ask)

    async def _demand(self, replica: Replica) -> None:
        wait = self.chance.choice([0.0, 1.0, 30.0])
        most = min(limit.amount for limit in self.limits) // REPLICAS
        requests = 1 if self.counts_media else self.chance.randint(1, most)
        minutes = self.chance.uniform(0.0, 5.0) if self.counts_media else 0.0
        if replica.is_cut:
            for _ in range(requests):
                replica.use(minutes)
            return
        lease = await replica.ask(requests, minutes, wait)
        self.refusals += not lease.permits
        if lease.permits and self.chance.random() < 0.1:
            self.at(now() + self.chance.random(), lambda: self._return(replica, lease))
            return
        for _ in range(lease.permits):
            place = self.chance.choice([0.0, 1.0, self.chance.random()])
            time = lease.available_at + place * (lease.until - lease.available_at)
            self.at(time, lambda: self._use(replica, lease))

    async def _return(self, replica: Replica, lease: Lease) -> None:
        if lease in replica.held:
            replica.held.discard(lease)
            await replica.store.settle(lease, lease.permits)

    async def _use(self, replica: Replica, lease: Lease) -> None:
        if lease not in replica.held or not lease.available_at <= now() <= lease.until:
            return
        actual = lease.demand.minutes * self.chance.choice([1.0, 0.3])  # the file was shorter than its header said
        if replica.use(actual) and self.counts_media:
            await replica.store.settle(lease, 0, actual - lease.demand.minutes)


@pytest.mark.parametrize("limits", SETS, ids=str)
@pytest.mark.parametrize("seed", range(2))
@with_simulated_redis
async def test_no_window_exceeds_a_limit(redis: SimulatedRedis, limits: list[RateLimit], seed: int) -> None:
    """Replicas that ask for more than the limits allow get nearly all of them, and no more in any window."""
    simulation = Simulation(redis, limits, seed)
    await simulation.run(200.0, 0.4)
    most = [simulation.upstream.most(limit) for limit in limits]
    assert all(found <= limit.amount for found, limit in zip(most, limits, strict=True))
    assert simulation.refusals > 100
    assert any(found > 0.8 * limit.amount for found, limit in zip(most, limits, strict=True))


@pytest.mark.parametrize("limits", SETS, ids=str)
@pytest.mark.parametrize("seed", range(2))
@with_simulated_redis
async def test_no_window_after_a_loss_exceeds_a_limit(
    redis: SimulatedRedis, limits: list[RateLimit], seed: int
) -> None:
    """After Redis has crashed and lost its state, no window that begins then exceeds a limit."""
    simulation = Simulation(redis, limits, seed)
    for busy in (0.4, 100.0):  # all of the limits is used when the state is lost, or nearly nothing
        await simulation.run(130.0, busy)
        await redis.redis.flushall()
        lost = now()
        for replica in simulation.replicas:  # all find it again before the store has settled
            replica.cut(simulation.chance.uniform(0.0, SETTLING_SECONDS - 1.0))
        await simulation.run(6.0, 0.05)
        await simulation.run(70.0, 0.4)
        assert all(simulation.upstream.most(limit, lost) <= limit.amount for limit in limits)
