"""Permits of a modality: those that the server holds, and the requests for more.

Times are seconds of the event loop's clock.
"""

import asyncio
import functools
import math
from collections.abc import Callable, Iterable, Sequence

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.capacity import Waiters
from embedwire_server.policies.rate_limit.leases import Held, LeasePool, RecentUse, most_permits
from embedwire_server.policies.rate_limit.own_usage import OwnUsage, history
from embedwire_server.policies.rate_limit.shared_quota import WATCH_SECONDS, SharedQuota
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, UsageHistory
from embedwire_server.policies.rate_limit.windows import Recorded

_TIMER_SECONDS = 0.01  # by which a timer is later than what it waits for, so that rounding does not matter
_PAUSE_SECONDS = 0.1  # after an answer that grants nothing, although the limits allow it


class Permits:
    """Holds permits, and asks for more in the background, one request at a time.

    Args:
        quota: access to the store.
        modality: modality of the inputs.
        usage: usage of this server, which is reported to the store.
        settling_changed: called when `is_settling` has changed.

    Attributes:
        pool: the permits.
        is_settling: whether the store lacks the usage of some servers.
        waiters: the calls that wait for permits.
    """

    waiters: Waiters

    def __init__(
        self, quota: SharedQuota, modality: Modality, usage: OwnUsage, settling_changed: Callable[[], None]
    ) -> None:
        self.pool = LeasePool()
        self.is_settling = False
        self._quota = quota
        self._modality = modality
        self._usage = usage
        self._settling_changed = settling_changed
        self._recent = RecentUse()
        self._is_asking = False
        self._answered_at = self._paused_until = self._ahead_paused_until = -math.inf
        quota.join(self)

    def take(self, now: float, minutes: float) -> Lease | None:
        """Use a permit, and ask for more if few are left; return None if there is none."""
        lease = self.pool.take(now, minutes)
        if lease is not None:
            self._recent.add(now)
        if lease is None or self._is_low(now):
            self._ask_soon(now)
        return lease

    def report(self) -> None:
        """Ask the store, unless it has been asked a moment ago: for permits that others have returned, or for none."""
        now = asyncio.get_running_loop().time()
        if now - self._answered_at < WATCH_SECONDS / 2 or self._is_asking:
            return
        waiting = self.waiters.waiting() if self._quota.is_available else ()
        if waiting:
            self._ask(now, len(waiting), waiting[0].minutes, now + LEASE_SECONDS)
        else:
            self._ask(now, 1, 0.0, -math.inf)

    def mode_changed(self) -> None:
        """Drop the permits if the store is unavailable: they expire."""
        if not self._quota.is_available:
            self.pool.remove_all()
        self._settling_changed()
        self.waiters.limits_changed()

    def return_all(self) -> None:
        """Return all permits."""
        self._return(self.pool.remove_all())

    def return_later(self) -> None:
        """Return the permits that are reserved for a later time."""
        self._return(self.pool.remove_later(asyncio.get_running_loop().time()))

    def _return(self, unused: Iterable[Held]) -> None:
        for held in unused:
            self._quota.settle(held.lease, held.left)

    def _ask_soon(self, now: float) -> None:
        """Ask for permits, once the calls that arrive now wait as well."""
        if not self._is_asking and now >= self._paused_until:
            self._is_asking = True
            asyncio.get_running_loop().call_soon(self._ask_for_demand)

    def _ask_for_demand(self) -> None:
        """Ask for permits for the calls that wait, or for later ones; for those, only if they may be used soon."""
        self._is_asking = False
        now, waiting = asyncio.get_running_loop().time(), self.waiters.waiting()
        minutes = waiting[0].minutes if waiting and self._usage.counts_media else 0.0
        if not self._quota.is_available or self.pool.next_at(now, minutes) is not None:
            return
        if self._usage.counts_media:
            self.return_all()  # they are for fewer minutes, of calls that were cancelled
        without = waiting[self.pool.usable(now) :]
        wanted = len(without) + self._recent.count(now)
        if without:
            served = without[:1] if self._usage.counts_media else without
            self._ask(now, wanted, minutes, max(call.deadline for call in served))
        elif self._is_low(now) and now >= self._ahead_paused_until:
            self._ask(now, wanted, 0.0, now + LEASE_SECONDS)

    def _is_low(self, now: float) -> bool:
        """Whether there are too few permits for as many calls as a moment ago."""
        wanted = min(most_permits(self._usage.limits, self._quota.shares), self._recent.count(now))
        return wanted > 1 and not self._usage.counts_media and 2 * self.pool.usable(now) < wanted

    def _ask(self, now: float, requests: int, minutes: float, latest: float) -> None:
        self._is_asking = True
        limits, unrecorded = self._usage.limits, self._usage.unrecorded(now)
        requests = 1 if self._usage.counts_media else min(requests, most_permits(limits, self._quota.shares))
        minutes = minutes if self._usage.counts_media else 0.0
        demand = Demand(self._modality, limits, requests, minutes, latest, history(unrecorded, now))
        self._quota.lease(self, demand, self._history, functools.partial(self._end, unrecorded))

    def _history(self) -> UsageHistory:
        """Return the usage for a store that has lost its state; it does not know the permits that are held either."""
        now = asyncio.get_running_loop().time()
        self.pool.remove_all()
        return history(self._usage.all(now), now)

    def _end(self, unrecorded: Sequence[Recorded], lease: Lease | None) -> None:
        """Use the answer of the store; None if it is unavailable."""
        self._is_asking = False
        if lease is not None:
            now = self._answered_at = asyncio.get_running_loop().time()
            self._usage.note_recorded(now, unrecorded)
            self._learn(lease)
            if self._quota.is_available and lease.demand.latest > -math.inf:
                self._add(now, lease)
        self.waiters.capacity_changed()

    def _learn(self, lease: Lease) -> None:
        if lease.is_settling != self.is_settling:
            self.is_settling = lease.is_settling
            self._settling_changed()
        if lease.back_off:
            self.waiters.learn_back_off(lease.back_off)

    def _add(self, now: float, lease: Lease) -> None:
        is_none_held = not self.pool.usable(now) and self.pool.next_at(now, 0.0) is None
        if lease.permits:
            self._keep(now, lease)
        elif lease.available_at > lease.demand.latest:
            self._ahead_paused_until = now + LEASE_SECONDS
        else:
            self._paused_until = now + _PAUSE_SECONDS
            at = self._paused_until + _TIMER_SECONDS
            asyncio.get_running_loop().call_at(at, self.waiters.capacity_changed)
        if is_none_held and lease.available_at > now and lease.demand.limits == self._usage.limits:
            minutes = 0.0 if lease.permits else lease.demand.minutes  # later calls wait for those that get permits
            self.waiters.refuse(lease.available_at, lease.limit, minutes)

    def _keep(self, now: float, lease: Lease) -> None:
        """Keep the permits of a lease; of those for a later time, only as many as calls wait."""
        kept = lease.permits
        if lease.demand.limits != self._usage.limits:  # they have changed meanwhile
            kept = 0
        elif lease.available_at > now + LEASE_SECONDS:
            kept = min(kept, len(self.waiters.waiting()))
        self.pool.add(lease, kept)
        if kept < lease.permits:
            self._quota.settle(lease, lease.permits - kept)
        asyncio.get_running_loop().call_at(lease.until + _TIMER_SECONDS, self._return_expired)

    def _return_expired(self) -> None:
        self._return(self.pool.remove_expired(asyncio.get_running_loop().time()))
