"""Quota store in the memory of one process: the supervisor keeps it for its workers.

It is exact: a reservation for a later time becomes usage when that time has come, and until then is only simulated, so
that it can be returned as if it had never been made. No method waits.
"""

import asyncio
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.sliding_window import RateLimit, SlidingWindow
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease, UsageHistory


class LocalQuotaStore:
    """Usage of one credential in this process; see `QuotaStore`. It has the whole usage from its start."""

    def __init__(self) -> None:
        self._quotas = {modality: _Quota() for modality in Modality}
        self._numbers = itertools.count()

    async def lease(self, demand: Demand, history: Callable[[], UsageHistory] = dict) -> Lease:  # noqa: ARG002 - of the interface
        """Take permits; `history` is never called."""
        quota = self._quotas[demand.modality]
        return quota.lease(asyncio.get_running_loop().time(), demand, next(self._numbers))

    async def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:
        """Return unused permits, and correct the minutes of media by this difference."""
        quota = self._quotas[lease.demand.modality]
        quota.settle(asyncio.get_running_loop().time(), lease, unused, minutes)

    async def back_off(self, modality: Modality, seconds: float) -> None:
        """Record that the upstream asked to wait."""
        self._quotas[modality].back_off(asyncio.get_running_loop().time(), seconds)


@dataclasses.dataclass(slots=True)
class _Reservation:
    """Permits for a time that has not come yet."""

    number: object
    available_at: float
    until: float
    limits: frozenset[str]
    requests: int
    minutes: float

    def count_in(self, windows: Mapping[str, SlidingWindow]) -> None:
        for name, window in windows.items():
            if name in self.limits:
                window.consume(self.until, self.minutes if window.limit.is_media else self.requests)


class _Quota:
    """Usage, reservations and back-off of one modality."""

    def __init__(self) -> None:
        self._windows: dict[str, SlidingWindow] = {}
        self._reserved: list[_Reservation] = []  # in the order of their times
        self._back_off_until = -math.inf

    def lease(self, now: float, demand: Demand, number: int) -> Lease:
        self._limit(demand.limits)
        self._record_past(now, demand.unrecorded)
        self._advance(now)
        available_at, limit, permits = self._available(now, demand)
        back_off = max(0.0, self._back_off_until - now)
        if available_at > demand.latest or math.isinf(available_at):
            return Lease(demand, 0, available_at, available_at, limit, back_off)
        until = available_at + LEASE_SECONDS
        names = frozenset(one.name for one in demand.limits)
        self._reserved.append(_Reservation(number, available_at, until, names, permits, demand.minutes))
        self._advance(now)
        return Lease(demand, permits, available_at, until, limit, back_off, data=number)

    def settle(self, now: float, lease: Lease, unused: int, minutes: float) -> None:
        self._advance(now)
        if unused:  # of a lease with minutes, there is only one permit
            minutes -= lease.demand.minutes
        for reservation in self._reserved:
            if reservation.number == lease.data:
                reservation.requests -= unused
                reservation.minutes += minutes
                if reservation.requests <= 0:
                    self._reserved.remove(reservation)
                return
        self._correct(now, lease, -unused, minutes)

    def back_off(self, now: float, seconds: float) -> None:
        self._back_off_until = max(self._back_off_until, now + seconds)

    def _limit(self, limits: Sequence[RateLimit]) -> None:
        """Apply the limits of a demand, which are new after a reload; a limit of an existing name keeps its usage."""
        for limit in limits:
            window = self._windows.setdefault(limit.name, SlidingWindow(limit))
            if window.limit != limit:
                window.set_limit(limit)

    def _record_past(self, now: float, past: UsageHistory) -> None:
        for name, parts in past.items():
            if name in self._windows:
                for age, amount in parts:
                    self._windows[name].record_past(now - age, amount)

    def _advance(self, now: float) -> None:
        """Count the reservations whose time has come, and drop expired usage."""
        while self._reserved and self._reserved[0].available_at <= now:
            self._reserved.pop(0).count_in(self._windows)
        for window in self._windows.values():
            window.forget(now)

    def _available(self, now: float, demand: Demand) -> tuple[float, RateLimit | None, int]:
        """Return when the first permit is available, the limit that decides this, and the number of permits then."""
        start = max(now, self._back_off_until, self._reserved[-1].available_at if self._reserved else now)
        windows = self._windows if start == now else self._after_reservations()
        available_at, deciding = start, None
        of_demand = [windows[limit.name] for limit in demand.limits]
        for window in of_demand:
            allowed_at = window.available_at(start, demand.minutes if window.limit.is_media else 1.0)
            if allowed_at > available_at:
                available_at, deciding = allowed_at, window.limit
        permits = demand.requests
        if available_at <= demand.latest:
            for window in of_demand:
                if not window.limit.is_media:
                    permits = max(1, window.allowed(available_at, permits, LEASE_SECONDS))
        return available_at, deciding, permits

    def _after_reservations(self) -> dict[str, SlidingWindow]:
        """Return copies of the windows in which all reservations are counted."""
        windows = {name: window.copy() for name, window in self._windows.items()}
        for reservation in self._reserved:
            reservation.count_in(windows)
        return windows

    def _correct(self, now: float, lease: Lease, requests: int, minutes: float) -> None:
        """Correct what a lease has counted, unless it has expired."""
        for limit in lease.demand.limits:
            window = self._windows.get(limit.name)
            usage = None if window is None else window.part_at(lease.until)
            if window is not None and usage is not None:
                window.adjust(now, usage, minutes if limit.is_media else requests)
