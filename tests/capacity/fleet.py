"""Replicas with the rate limiter of the server, which share a quota through a simulated Redis."""

import asyncio
import contextlib
import dataclasses
import math
import random
from collections.abc import AsyncGenerator, Sequence

from embedwire_server.core.errors import RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Readiness
from embedwire_server.policies.rate_limit.limiter import RateLimiter
from embedwire_server.policies.rate_limit.policy import RateLimiters
from embedwire_server.policies.rate_limit.quota_mode import QuotaMode
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.shared_quota import SharedQuota
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import QuotaStore
from embedwire_server.upstreams.base import EmbedCall
from tests.capacity.simulated_redis import Costs, Figures, SimulatedRedis
from tests.support.embed_calls import call
from tests.support.virtual_time import VirtualLoop

DEADLINE_SECONDS = 60.0  # of a call of a client without a deadline of its own
MINUTE = 60.0


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
        replicas: number of replicas.
        per_minute: requests per minute that the plan allows, of all replicas together.
        demand: inputs that arrive, as a share of the plan; evenly distributed over the replicas, at random times.
        warm_up: seconds before the measurement.
        seconds: duration of the measurement.
    """

    replicas: int
    per_minute: int
    demand: float
    warm_up: float
    seconds: float

    @property
    def limit(self) -> RateLimit:
        """The limit of the plan."""
        return RateLimit("text requests per minute", self.per_minute, MINUTE, is_media=False)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was measured in the simulated time.

    Attributes:
        waits: seconds that each input waited that was sent to the upstream, in ascending order.
        rejected: number of inputs that were rejected, since the quota allows them only after their deadline.
        by_replica: number of sent inputs of each replica.
        redis: figures of Redis.
    """

    scenario: Scenario
    waits: Sequence[float]
    rejected: int
    by_replica: Sequence[int]
    redis: Figures

    @property
    def used(self) -> float:
        """Part of the plan that was used."""
        return len(self.waits) / self.scenario.seconds * MINUTE / self.scenario.per_minute

    def delay(self, quantile: float) -> float:
        """Return a quantile of the seconds of the operations of Redis that took no more than 50 ms."""
        ordered = sorted(self.redis.seconds) or [math.nan]
        return ordered[int(quantile * len(ordered))]


class Replica:
    """One server: its rate limiter, and the inputs that arrive.

    Args:
        number: its number, which seeds the times of its inputs.
        scenario: what is simulated.
        store: the store that it shares with the others.
    """

    def __init__(self, number: int, scenario: Scenario, store: QuotaStore) -> None:
        metrics = Metrics("simulation")
        self.quota = SharedQuota(store, scenario.replicas, QuotaMode(scenario.replicas, metrics, Readiness()))
        limiters = RateLimiters({Modality.TEXT: [scenario.limit]}, metrics, self.quota)
        self._limiter: RateLimiter = limiters.of(call())
        self._rate = scenario.demand * scenario.per_minute / MINUTE / scenario.replicas
        self._random = random.Random(number)
        self._waiting: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """Set the figures to 0."""
        self.waits: list[float] = []
        self.rejected = 0

    def begin(self) -> None:
        """Let the first input arrive."""
        self._schedule()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._random.expovariate(self._rate), self._arrive)

    def _arrive(self) -> None:
        self._schedule()
        now = asyncio.get_running_loop().time()
        reservation, arrived = Reservation(0.0), call(deadline=now + DEADLINE_SECONDS)
        try:
            if self._limiter.try_acquire(reservation, arrived):
                self._end(reservation, 0.0)
                return
        except RateLimited:
            self.rejected += 1
            return
        task = asyncio.create_task(self._wait(reservation, arrived, now))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _wait(self, reservation: Reservation, arrived: EmbedCall, now: float) -> None:
        try:
            await self._limiter.acquire(reservation, arrived)
        except RateLimited:
            self.rejected += 1
        else:
            self._end(reservation, reservation.began - now)

    def _end(self, reservation: Reservation, waited: float) -> None:
        self.waits.append(waited)
        self._limiter.confirm(reservation, 0.0)

    async def stop(self) -> None:
        """Let no more inputs arrive."""
        self._timer.cancel()
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


def simulate(scenario: Scenario, costs: Costs) -> Outcome:
    """Simulate a scenario; the same arguments have the same outcome."""

    async def run() -> Outcome:
        redis = SimulatedRedis({Modality.TEXT: scenario.limit}, costs)
        replicas = [Replica(number, scenario, redis) for number in range(scenario.replicas)]
        async with running(replicas):
            await asyncio.sleep(scenario.warm_up)
            redis.figures = Figures()
            waits, rejected, by_replica = await measured(replicas, scenario.seconds)
            return Outcome(scenario, waits, rejected, by_replica, redis.figures)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


@contextlib.asynccontextmanager
async def running(replicas: Sequence[Replica]) -> AsyncGenerator[None]:
    """Run replicas, which start within a second."""
    chance = random.Random(len(replicas))
    async with contextlib.AsyncExitStack() as stack:
        for replica in replicas:
            await stack.enter_async_context(replica.quota.running())
            replica.begin()
            stack.push_async_callback(replica.stop)
            await asyncio.sleep(chance.random() / len(replicas))
        yield


async def measured(replicas: Sequence[Replica], seconds: float) -> tuple[Sequence[float], int, Sequence[int]]:
    """Return the waits of the inputs that are sent in this time, how many are rejected, and sent by each replica."""
    for replica in replicas:
        replica.reset()
    await asyncio.sleep(seconds)
    waits = sorted(wait for replica in replicas for wait in replica.waits)
    return waits, sum(replica.rejected for replica in replicas), [len(replica.waits) for replica in replicas]
