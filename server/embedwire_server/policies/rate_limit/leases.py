"""Permits that a server holds: those of its leases that it has not used yet.

Times are seconds of the event loop's clock.
"""

import dataclasses
from collections import deque
from collections.abc import Sequence

from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Lease

MAX_PERMITS = 64  # of one lease


@dataclasses.dataclass(slots=True, eq=False)
class Held:
    """A lease, and how many of its permits are left."""

    lease: Lease
    left: int


class LeasePool:
    """Leases in the order in which they were granted."""

    def __init__(self) -> None:
        self._held: deque[Held] = deque()

    def add(self, lease: Lease, permits: int) -> None:
        """Add a number of permits of a lease."""
        if permits:
            self._held.append(Held(lease, permits))

    def usable(self, now: float, minutes: float = 0.0) -> int:
        """Return the number of permits for at least these minutes that may be used now."""
        return sum(held.left for held in self._held if _is_usable(held.lease, now, minutes))

    def take(self, now: float, minutes: float) -> Lease | None:
        """Use one permit for at least these minutes; return its lease, or None if there is none now."""
        for held in self._held:
            if _is_usable(held.lease, now, minutes):
                held.left -= 1
                if not held.left:
                    self._held.remove(held)
                return held.lease
        return None

    def next_at(self, now: float, minutes: float) -> tuple[float, RateLimit | None] | None:
        """Return when the first permits for a later time may be used, and the deciding limit; None without any."""
        leases = [held.lease for held in self._held if held.lease.demand.minutes >= minutes]
        later = [lease for lease in leases if lease.available_at > now]
        first = min(later, key=lambda lease: lease.available_at, default=None)
        return None if first is None else (first.available_at, first.limit)

    def remove_expired(self, now: float) -> list[Held]:
        """Remove and return the permits that may not be used any more."""
        return self._remove([held for held in self._held if held.lease.until < now])

    def remove_later(self, now: float) -> list[Held]:
        """Remove and return the permits that are reserved for a later time, without those that are usable soon."""
        return self._remove([held for held in self._held if held.lease.available_at > now + LEASE_SECONDS])

    def remove_all(self) -> list[Held]:
        """Remove and return all permits."""
        return self._remove(list(self._held))

    def _remove(self, removed: list[Held]) -> list[Held]:
        for held in removed:
            self._held.remove(held)
        return removed


class RecentUse:
    """Number of permits that were used in a time of `LEASE_SECONDS` / 2 to `LEASE_SECONDS` that ends now."""

    def __init__(self) -> None:
        self._period = 0
        self._count = self._before = 0

    def add(self, now: float) -> None:
        """Count one use."""
        self._advance(now)
        self._count += 1

    def count(self, now: float) -> int:
        """Return the number."""
        self._advance(now)
        return self._count + self._before

    def _advance(self, now: float) -> None:
        period = int(2 * now / LEASE_SECONDS)
        if period != self._period:
            self._before = self._count if period == self._period + 1 else 0
            self._period, self._count = period, 0


def most_permits(limits: Sequence[RateLimit], shares: int) -> int:
    """Return the most permits that one lease may have: what the limits allow in `LEASE_SECONDS`, but at least one.

    It is no more than one server's part of any limit: after the loss of a store, its leases are used for a moment.
    """
    allowed = [int(limit.amount * LEASE_SECONDS / limit.seconds) for limit in limits if limit.is_even]
    return max(1, min([MAX_PERMITS, *allowed, *(limit.amount // shares for limit in limits if not limit.is_media)]))


def _is_usable(lease: Lease, now: float, minutes: float) -> bool:
    return lease.available_at <= now <= lease.until and lease.demand.minutes >= minutes
