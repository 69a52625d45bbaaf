"""Capacity that servers share through a quota store; without the store, this server's part of the limits.

Times are seconds of the event loop's clock.
"""

import asyncio
import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.capacity import Waiters
from embedwire_server.policies.rate_limit.leases import Held, LeasePool, RecentUse, most_permits
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.shared_quota import WATCH_SECONDS, SharedQuota
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage, RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, PastUsage, UsageHistory
from embedwire_server.policies.rate_limit.windows import Recorded, Windows

_TIMER_SECONDS = 0.01  # by which a timer is later than what it waits for, so that rounding does not matter
_PAUSE_SECONDS = 0.1  # after an answer that grants nothing, although the limits allow it


class SharedCapacity:
    """Capacity of a modality; see `Capacity`.

    A permit of a lease is used at once. If there is none, more are asked for in the background. The windows record each
    attempt of this server. They restrict it to its part of the limits while the store is unavailable, and as long as
    the store does not know the usage of all servers.

    Args:
        quota: access to the store.
        modality: modality of the inputs.
        limits: the limits of all servers together.
    """

    def __init__(self, quota: SharedQuota, modality: Modality, limits: Sequence[RateLimit]) -> None:
        self._quota = quota
        self._modality = modality
        self._limits = tuple(limits)
        self._windows = Windows(limits)
        self._unrecorded = Windows(limits)  # usage that the store does not know
        self._pool = LeasePool()
        self._recent = RecentUse()
        self._is_asking = self._is_store_settling = False
        self._answered_at = self._paused_until = self._ahead_paused_until = -math.inf
        quota.join(self)

    def serve(self, waiters: Waiters) -> None:
        """Set who waits for it; called once."""
        self._waiters = waiters

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        if tuple(limits) == self._limits:
            return
        self._limits = tuple(limits)
        self._unrecorded.limit(limits)
        self._restrict()
        self._return(self._pool.remove_all())

    @property
    def counts_media(self) -> bool:
        """Whether a limit counts minutes of media."""
        return self._windows.counts_media

    @property
    def _is_restricted(self) -> bool:
        return self._quota.is_divided or self._is_store_settling

    def available_at(
        self, start: float, minutes: float, ahead: Sequence[Reservation] = ()
    ) -> tuple[float, RateLimit | None]:
        """Return the earliest time that this server knows of; the store may need longer."""
        is_held = self._pool.usable(start, self._minutes(minutes)) > len(ahead)
        if is_held and not self._is_restricted:
            return start, None
        of_windows = self._windows.available_at(start, minutes, ahead)
        if not self._quota.is_available:
            return of_windows
        of_permits = None if is_held else self._pool.next_at(start)
        if self._is_restricted or ahead or math.isinf(of_windows[0]):
            return max(of_windows, of_permits or of_windows, key=lambda one: one[0])
        return of_permits or (start, None)

    def take(self, now: float, reservation: Reservation) -> bool:
        """Use a permit, and ask for more if there are too few; False if there is none."""
        if self._quota.is_available:
            reservation.lease = self._pool.take(now, self._minutes(reservation.minutes))
            if reservation.lease is None:
                self._ask_soon(now, self._minutes(reservation.minutes))
                return False
            self._recent.add(now)
            if self._is_low(now):
                self._ask_soon(now, 0.0)
        else:
            self._unrecorded.take(now, reservation)
        return self._windows.take(now, reservation)

    def reconcile(self, now: float, reservation: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation by those that the upstream found, in the store as well."""
        self._windows.reconcile(now, reservation, minutes)
        lease = reservation.lease
        if lease is not None and minutes != lease.demand.minutes:
            self._correct(now, lease, minutes - lease.demand.minutes)

    def give_back(self, reservation: Reservation) -> None:
        """Return the permit of an attempt that is not made."""
        if reservation.lease is not None:
            self._quota.settle(reservation.lease, 1)
            reservation.lease = None

    def back_off(self, seconds: float) -> None:
        """Record in the store that the upstream asked to wait."""
        self._quota.back_off(self._modality, seconds)

    def end_demand(self) -> None:
        """Return the permits that are reserved for a later time: no call waits any more."""
        self._return(self._pool.remove_later(asyncio.get_running_loop().time()))

    def usage(self, now: float) -> list[LimitUsage]:
        """Return what this server has used. Thread-safe."""
        return self._windows.usage(now)

    def report(self) -> None:
        """Ask the store for no permit, unless it has been asked a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._answered_at >= WATCH_SECONDS / 2:
            self._ask(now, 1, 0.0, -math.inf)

    def mode_changed(self) -> None:
        """Use permits, this server's part of the limits, or both."""
        if not self._quota.is_available:
            self._pool.remove_all()  # they expire
        self._restrict()
        self._waiters.capacity_changed()

    def return_all(self) -> None:
        """Return all permits: the server stops."""
        self._return(self._pool.remove_all())

    def _correct(self, now: float, lease: Lease, more: float) -> None:
        if self._quota.is_available:
            self._quota.settle(lease, 0, more)
        elif more > 0:
            self._unrecorded.add_minutes(now, more)

    def _minutes(self, minutes: float) -> float:
        return minutes if self.counts_media else 0.0

    def _restrict(self) -> None:
        shares = self._quota.shares
        self._windows.limit([_part(limit, shares) for limit in self._limits] if self._is_restricted else self._limits)

    def _return(self, unused: Iterable[Held]) -> None:
        for held in unused:
            self._quota.settle(held.lease, held.left)

    def _ask_soon(self, now: float, minutes: float) -> None:
        """Ask for permits, once the calls that arrive now wait as well."""
        if not self._is_asking and now >= self._paused_until:
            self._is_asking = True
            asyncio.get_running_loop().call_soon(self._ask_for_demand, minutes)

    def _ask_for_demand(self, minutes: float) -> None:
        """Ask for permits for the calls that wait, or for later ones; for those, only if they may be used soon."""
        self._is_asking = False
        now = asyncio.get_running_loop().time()
        if not self._quota.is_available or self._pool.next_at(now) is not None:
            return
        if self.counts_media:
            self._return(self._pool.remove_all())  # permits for fewer minutes, of calls that were cancelled
        waiting = self._waiters.deadlines()[self._pool.usable(now) :]
        wanted = len(waiting) + self._recent.count(now)
        if waiting:
            self._ask(now, wanted, minutes, max(waiting))
        elif self._is_low(now) and now >= self._ahead_paused_until:
            self._ask(now, wanted, 0.0, now + LEASE_SECONDS)

    def _is_low(self, now: float) -> bool:
        """Whether there are too few permits for as many calls as a moment ago."""
        wanted = min(most_permits(self._limits), self._recent.count(now))
        return wanted > 1 and not self.counts_media and 2 * self._pool.usable(now) < wanted

    def _ask(self, now: float, requests: int, minutes: float, latest: float) -> None:
        if self._is_asking:
            return
        self._is_asking = True
        requests = 1 if self.counts_media else min(requests, most_permits(self._limits))
        unrecorded = self._unrecorded.recorded(now)
        demand = Demand(self._modality, self._limits, requests, minutes, latest, _history(unrecorded, now))
        request = _Request(demand, unrecorded)
        history, ended = functools.partial(self._history, request), functools.partial(self._end, request)
        self._quota.lease(self, demand, history, ended)

    def _history(self, request: "_Request") -> UsageHistory:
        now = asyncio.get_running_loop().time()
        request.is_new_store = True
        return _history(self._windows.recorded(now), now)

    def _end(self, request: "_Request", lease: Lease | None) -> None:
        """Use the answer of the store; None if it is unavailable."""
        self._is_asking = False
        if lease is not None:
            now = asyncio.get_running_loop().time()
            self._answered_at = now
            self._unrecorded.remove(now, request.unrecorded)
            self._learn(request, lease)
            if self._quota.is_available:
                self._add(now, lease)
        self._waiters.capacity_changed()

    def _learn(self, request: "_Request", lease: Lease) -> None:
        if request.is_new_store:
            self._pool.remove_all()  # the store does not know them
        if lease.is_settling != self._is_store_settling:
            self._is_store_settling = lease.is_settling
            self._restrict()
        if lease.back_off:
            self._waiters.learn_back_off(lease.back_off)

    def _add(self, now: float, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        is_none_held = not self._pool.usable(now)
        if lease.permits:
            self._pool.add(lease)
            loop.call_at(lease.until + _TIMER_SECONDS, self._return_expired)
            if lease.demand.limits != self._limits:  # they have changed meanwhile
                self._return(self._pool.remove_all())
        elif lease.demand.latest == -math.inf:
            return
        elif lease.available_at > lease.demand.latest:
            self._ahead_paused_until = now + LEASE_SECONDS
        else:
            self._paused_until = now + _PAUSE_SECONDS
            loop.call_at(self._paused_until + _TIMER_SECONDS, self._waiters.capacity_changed)
        if is_none_held and lease.available_at > now:
            self._waiters.refuse(lease.available_at, lease.limit)
        if not self._waiters.deadlines():
            self.end_demand()

    def _return_expired(self) -> None:
        self._return(self._pool.remove_expired(asyncio.get_running_loop().time()))


@dataclasses.dataclass(slots=True, eq=False)
class _Request:
    """A request to the store.

    Attributes:
        demand: what it asks for.
        unrecorded: the usage that it reports.
        is_new_store: whether the store has lost its state, and has taken the history.
    """

    demand: Demand
    unrecorded: Sequence[Recorded]
    is_new_store: bool = False


def _part(limit: RateLimit, shares: int) -> RateLimit:
    return dataclasses.replace(limit, amount=limit.amount // shares, part_of=limit.amount)


def _history(recorded: Iterable[Recorded], now: float) -> dict[str, list[PastUsage]]:
    history: dict[str, list[PastUsage]] = {}
    for window, usage, amount in recorded:
        if amount > 0:  # a correction of usage that has been reported is not: it would count for too long
            history.setdefault(window.limit.name, []).append(PastUsage(now - usage.at, amount))
    return history
