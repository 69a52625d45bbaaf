"""Capacity of one server: sliding windows.

Times are seconds of the event loop's clock.
"""

from collections.abc import Sequence
from typing import NamedTuple

from embedwire_server.policies.rate_limit.capacity import Waiters
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage, RateLimit, SlidingWindow, Usage


class Recorded(NamedTuple):
    """Usage that a window has recorded, and its amount at one moment."""

    window: SlidingWindow
    usage: Usage
    amount: float


class Windows:
    """Sliding windows of all limits; see `Capacity`."""

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        self._windows: list[SlidingWindow] = []
        self.counts_media = False
        self.limit(limits)

    def serve(self, waiters: Waiters) -> None:
        """Do nothing: the limiter itself sees when there is capacity."""

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        before = {window.limit.name: window for window in self._windows}
        self._windows = [before.get(limit.name) or SlidingWindow(limit) for limit in limits]
        for window, limit in zip(self._windows, limits, strict=True):
            window.set_limit(limit)
        self.counts_media = any(limit.is_media for limit in limits)

    def available_at(
        self, start: float, minutes: float, ahead: Sequence[Reservation] = ()
    ) -> tuple[float, RateLimit | None]:
        """Return when a reservation with these ahead is possible, and the deciding limit."""
        latest, binding = start, None
        for window in self._windows:
            if window.limit.is_media:
                available_at = window.available_at(start, minutes, sum(reservation.minutes for reservation in ahead))
            else:
                available_at = window.available_at(start, 1.0, len(ahead))
            if available_at > latest:
                latest, binding = available_at, window.limit
        return latest, binding

    def take(self, now: float, reservation: Reservation) -> bool:
        """Count a reservation."""
        for window in self._windows:
            usage = window.consume(now, reservation.minutes if window.limit.is_media else 1.0)
            if window.limit.is_media:
                reservation.media.append((window, usage))
        return True

    def reconcile(self, now: float, reservation: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation by those that the upstream found."""
        for window, usage in reservation.media:
            window.adjust(now, usage, minutes - reservation.minutes)

    def add_minutes(self, now: float, minutes: float) -> None:
        """Count further minutes of media."""
        for window in self._windows:
            if window.limit.is_media:
                window.consume(now, minutes)

    def give_back(self, reservation: Reservation) -> None:
        """Do nothing: the attempt counts, as others that fail before they are sent."""

    def back_off(self, seconds: float) -> None:
        """Do nothing: no other server shares the limits."""

    def end_demand(self) -> None:
        """Do nothing: nothing is held for calls that wait."""

    def usage(self, now: float) -> list[LimitUsage]:
        """Return the usage of each limit. Thread-safe."""
        return [window.usage(now) for window in self._windows]

    def recorded(self, now: float) -> list[Recorded]:
        """Return the usage that counts now."""
        return [Recorded(window, usage, usage.amount) for window in self._windows for usage in window.recorded(now)]

    def remove(self, now: float, recorded: Sequence[Recorded]) -> None:
        """Remove usage that was returned by `recorded`; what was added since stays."""
        for window, usage, amount in recorded:
            window.adjust(now, usage, -amount)
