"""Redis as a queue: one thread executes one operation after the other, each for a time that was measured."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, QuotaStoreUnavailable, UsageHistory
from embedwire_server.policies.redis_connection import OPERATION_SECONDS
from tests.capacity.quota_model import QuotaModel

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Costs:
    """Measured times, in seconds.

    Attributes:
        lease: time for which Redis executes a request for permits, or a report of a modality with limits.
        settle: the same for the return of permits.
        report: the same for a report of a modality without limits.
        round_trip: time from a request to its reply on an idle Redis, without those.
    """

    lease: float
    settle: float
    report: float
    round_trip: float


@dataclasses.dataclass
class Figures:
    """What was counted since the last reset.

    Attributes:
        leases: operations that asked for permits.
        reports: operations that asked for none.
        settles: operations that returned permits.
        permits: permits that were granted.
        returned: permits that were returned.
        busy_seconds: time for which the thread of Redis was busy.
        failures: operations that took more than 50 ms.
        seconds: duration of each other operation, for its client.
    """

    leases: int = 0
    reports: int = 0
    settles: int = 0
    permits: int = 0
    returned: int = 0
    busy_seconds: float = 0.0
    failures: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def operations(self) -> int:
        """Number of all operations."""
        return self.leases + self.reports + self.settles


class _Granted(NamedTuple):
    """What settles a lease: the part that counts it, and when it ends."""

    part: int
    ends: float


class SimulatedRedis:
    """Store of all replicas; see `QuotaStore`.

    Args:
        limits: the limit of each modality.
        costs: time of its operations.

    Attributes:
        figures: what was counted; replace them to begin again.
    """

    def __init__(self, limits: Mapping[Modality, RateLimit], costs: Costs) -> None:
        self._costs = costs
        self._models = {modality: QuotaModel(limit) for modality, limit in limits.items()}
        self._free_at = 0.0
        self.figures = Figures()

    async def lease(self, demand: Demand, history: Callable[[], UsageHistory]) -> Lease:  # noqa: ARG002 - of the interface
        """Take permits."""
        loop = asyncio.get_running_loop()
        sent, model = loop.time(), self._models.get(demand.modality)
        if demand.requests and demand.latest > sent:
            self.figures.leases += 1
        else:
            self.figures.reports += 1
        if model is None:
            await self._operation(self._costs.report, lambda: None)
            return Lease(demand, 0, loop.time(), loop.time())

        def take() -> tuple[int, float, _Granted]:
            now = loop.time()
            permits, at, part = model.lease(now, demand)
            return permits, at - now, _Granted(part, at + LEASE_SECONDS)

        permits, wait, granted = await self._operation(self._costs.lease, take)
        self.figures.permits += permits
        until = sent + wait + LEASE_SECONDS if permits else loop.time() + wait
        return Lease(demand, permits, loop.time() + wait, until, demand.limits[0] if wait else None, data=granted)

    async def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:  # noqa: ARG002 - of the interface
        """Return permits."""
        self.figures.settles += 1
        self.figures.returned += unused
        granted = lease.data
        assert isinstance(granted, _Granted)
        model, loop = self._models[lease.demand.modality], asyncio.get_running_loop()
        await self._operation(self._costs.settle, lambda: model.settle(loop.time(), granted.part, unused, granted.ends))

    async def back_off(self, modality: Modality, seconds: float) -> None:
        """Fail: no upstream of the simulation asks to wait."""
        raise NotImplementedError

    async def _operation(self, cost: float, execute: Callable[[], T]) -> T:
        """Wait for the thread of Redis, and for the reply.

        Raises:
            QuotaStoreUnavailable: it took longer than 50 ms. Redis executes it nevertheless.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        executed = loop.create_future()
        self._free_at = max(began + self._costs.round_trip / 2, self._free_at) + cost
        self.figures.busy_seconds += cost
        loop.call_at(self._free_at, lambda: executed.set_result(execute()))
        seconds = self._free_at + self._costs.round_trip / 2 - began
        await asyncio.sleep(min(seconds, OPERATION_SECONDS))
        if seconds > OPERATION_SECONDS:
            self.figures.failures += 1
            raise QuotaStoreUnavailable
        self.figures.seconds.append(seconds)
        found: T = executed.result()
        return found
