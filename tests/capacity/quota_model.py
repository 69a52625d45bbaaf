"""Model of the script of the quota store (`lease.lua`): one limit on requests, no back-offs, no loss of data.

Times are seconds of the simulation.
"""

import math
from collections import deque

from embedwire_server.policies.rate_limit.redis_store import PARTS
from embedwire_server.policies.rate_limit.sliding_window import BURST_SECONDS, MARGIN_SECONDS, RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand


class QuotaModel:
    """Usage of one limit, in parts of its window."""

    def __init__(self, limit: RateLimit) -> None:
        self._amount = limit.amount
        self._window = limit.seconds + MARGIN_SECONDS
        self._part = limit.seconds / PARTS
        self._spacing = self._window / limit.amount
        self._next = 0.0
        self._parts: deque[list[float]] = deque()  # number and amount of each
        self._total = 0.0

    def lease(self, now: float, demand: Demand) -> tuple[int, float, int]:
        """Return the number of permits, when they are available, and the part that counts them."""
        while self._parts and self._counts_until(self._parts[0][0]) <= now:
            self._total -= self._parts.popleft()[1]
        at = max(self._available_at(now), self._next - BURST_SECONDS)
        if at > demand.latest:
            return 0, at, 0
        ahead = at + BURST_SECONDS + LEASE_SECONDS - max(self._next, at)
        permits = max(1, math.floor(min(demand.requests, self._amount - self._used(at), ahead / self._spacing + 1)))
        part = math.floor((at + LEASE_SECONDS) / self._part)
        self._add(part, permits)
        self._next = max(self._next, at) + permits * self._spacing
        return permits, at, part

    def settle(self, now: float, part: int, unused: int, until: float) -> None:
        """Return permits that this part has counted."""
        if any(number == part for number, _ in self._parts):
            self._add(part, -unused)
        if now <= until:
            self._next -= unused * self._spacing

    def _counts_until(self, part: float) -> float:
        return (part + 1) * self._part + self._window

    def _available_at(self, start: float) -> float:
        excess, at = self._total + 1 - self._amount, start
        for part, amount in self._parts:
            if excess <= 0:
                break
            at, excess = self._counts_until(part), excess - amount
        return at

    def _used(self, at: float) -> float:
        used = self._total
        for part, amount in self._parts:
            if self._counts_until(part) > at:
                break
            used -= amount
        return used

    def _add(self, part: int, amount: int) -> None:
        self._total += amount
        place = len(self._parts)
        while place and self._parts[place - 1][0] > part:
            place -= 1
        if place and self._parts[place - 1][0] == part:
            self._parts[place - 1][1] += amount
        else:
            self._parts.insert(place, [part, amount])
