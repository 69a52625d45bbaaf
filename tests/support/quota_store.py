"""A quota store in memory, exact and with failures that the test chooses."""

import asyncio
import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, UsageHistory

BURST_SECONDS = 2.0


@dataclasses.dataclass(eq=False)
class Entry:
    """Permits of one lease, or past usage: they are used from `since` on, and until `at`."""

    since: float
    at: float
    requests: float
    minutes: float

    def is_near(self, at: float, seconds: float) -> bool:
        """Whether it is in one window with permits that are used from `at` on."""
        return self.since - LEASE_SECONDS - seconds < at < self.at + seconds

    def amount(self, limit: RateLimit) -> float:
        return self.minutes if limit.is_media else self.requests


class MemoryQuota:
    """State that the stores of several servers in one event loop share.

    Attributes:
        is_settling: whether not all servers have reported after a loss of the state; leases say so.
    """

    def __init__(self) -> None:
        self.is_settling = False
        self.entries: dict[Modality, list[Entry]] = defaultdict(list)
        self.next: dict[str, float] = defaultdict(lambda: -math.inf)
        self.back_off_until: dict[Modality, float] = defaultdict(lambda: -math.inf)
        self.generation = 0

    def lose_state(self) -> None:
        """Forget everything; servers report their history with their next request."""
        self.entries.clear()
        self.next.clear()
        self.back_off_until.clear()
        self.generation += 1

    def available_at(self, start: float, demand: Demand) -> tuple[float, RateLimit | None]:
        latest, binding = start, None
        longest = max((limit.seconds for limit in demand.limits), default=0.0)
        entries = self.entries[demand.modality]
        entries[:] = [one for one in entries if one.at + longest > start and (one.requests > 0 or one.minutes > 0)]
        for limit in demand.limits:
            at = max(start, self.next[limit.name] - BURST_SECONDS if limit.is_even else start)
            amount = demand.minutes if limit.is_media else 1.0
            ends = sorted(entry.at + limit.seconds for entry in self.entries[demand.modality])
            times = (at, *(end for end in ends if end > at))
            at = next(one for one in times if self.used(one, demand.modality, limit) + amount <= limit.amount)
            if at > latest:
                latest, binding = at, limit
        return latest, binding

    def used(self, at: float, modality: Modality, limit: RateLimit) -> float:
        return sum(entry.amount(limit) for entry in self.entries[modality] if entry.is_near(at, limit.seconds))

    def take(self, at: float, demand: Demand) -> Entry:
        """Count as many permits as are wanted and free."""
        counted = [limit for limit in demand.limits if not limit.is_media]
        free = [math.floor(limit.amount - self.used(at, demand.modality, limit)) for limit in counted]
        entry = Entry(at, at + LEASE_SECONDS, min([demand.requests, *free]), demand.minutes)
        self.entries[demand.modality].append(entry)
        self.advance(demand.limits, at, entry.requests)
        return entry

    def advance(self, limits: Sequence[RateLimit], at: float, requests: float) -> None:
        for limit in limits:
            if limit.is_even:
                self.next[limit.name] = max(self.next[limit.name], at) + requests * limit.seconds / limit.amount

    def record(self, now: float, demand: Demand, past: UsageHistory) -> None:
        for limit in demand.limits:
            for age, amount in past.get(limit.name, ()):
                counts = (0.0, amount) if limit.is_media else (amount, 0.0)
                entry = Entry(now - age, now - age, *counts)
                self.entries[demand.modality].append(entry)


class MemoryQuotaStore:
    """The `QuotaStore` of one server.

    Attributes:
        seconds: duration of a request.
        failure: returns what every method raises; None if they succeed.
        grants: whether it grants permits at all.
        leases: the demands for permits.
        reports: the demands for none.
        settled: arguments of `settle`.
        back_offs: arguments of `back_off`.
    """

    def __init__(self, quota: MemoryQuota | None = None) -> None:
        self.quota = quota or MemoryQuota()
        self.seconds = 0.001
        self.failure: Callable[[], BaseException] | None = None
        self.grants = True
        self.leases: list[Demand] = []
        self.reports: list[Demand] = []
        self.settled: list[tuple[Lease, int, float]] = []
        self.back_offs: list[tuple[Modality, float]] = []
        self._known = dict.fromkeys(Modality, self.quota.generation)

    async def lease(self, demand: Demand, history: Callable[[], UsageHistory]) -> Lease:
        (self.reports if demand.latest == -math.inf else self.leases).append(demand)
        await self._respond()
        now, modality = asyncio.get_running_loop().time(), demand.modality
        is_known = self._known[modality] == self.quota.generation
        self.quota.record(now, demand, demand.unrecorded if is_known else history())
        self._known[modality] = self.quota.generation
        back_off = max(0.0, self.quota.back_off_until[modality] - now)
        available_at, limit = self.quota.available_at(now + back_off, demand)
        if available_at > demand.latest or not self.grants:
            return Lease(demand, 0, available_at, available_at, limit, back_off, self.quota.is_settling)
        entry = self.quota.take(available_at, demand)
        permits = round(entry.requests)
        return Lease(demand, permits, available_at, entry.at, limit, back_off, self.quota.is_settling, entry)

    async def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:
        self.settled.append((lease, unused, minutes))
        await self._respond()
        assert isinstance(lease.data, Entry)
        lease.data.requests -= unused
        lease.data.minutes += minutes - (lease.demand.minutes if unused else 0.0)
        self.quota.advance(lease.demand.limits, -math.inf, -unused)

    async def back_off(self, modality: Modality, seconds: float) -> None:
        self.back_offs.append((modality, seconds))
        await self._respond()
        until = asyncio.get_running_loop().time() + seconds
        self.quota.back_off_until[modality] = max(self.quota.back_off_until[modality], until)

    async def _respond(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure()


def most_in_a_window(times: Sequence[float], seconds: float) -> int:
    """Return the largest number of these times in any window of this length, which is open at one end."""
    times = sorted(times)
    first = most = 0
    for last, time in enumerate(times):
        while times[first] <= time - seconds + 1e-6:  # rounding
            first += 1
        most = max(most, last - first + 1)
    return most
