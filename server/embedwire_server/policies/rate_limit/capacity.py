"""What a rate limiter asks before it grants a reservation: may it, and when? `Windows` is the capacity of one server.

Times are seconds of the event loop's clock.
"""

from collections.abc import Sequence
from typing import Protocol

from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage, RateLimit, SlidingWindow


class Capacity(Protocol):
    """Capacity of a credential for a modality."""

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        ...

    @property
    def counts_media(self) -> bool:
        """Whether a limit counts minutes of media."""
        ...

    def available_at(
        self, start: float, minutes: float, ahead: Sequence[Reservation] = ()
    ) -> tuple[float, RateLimit | None]:
        """Return when a reservation with these ahead may be possible, from `start` on, and the deciding limit.

        The time is a lower bound; it is infinity if the limits never allow these minutes.
        """
        ...

    def take(self, now: float, reservation: Reservation) -> bool:
        """Count a reservation that is available by `available_at`; return False if it has to wait for more capacity."""
        ...

    def reconcile(self, now: float, reservation: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation by those that the upstream found."""
        ...

    def give_back(self, reservation: Reservation) -> None:
        """Return what was taken for an attempt that is not made."""
        ...

    def back_off(self, seconds: float) -> None:
        """Record that the upstream asked to wait."""
        ...

    def lack_demand(self) -> None:
        """Note that no call waits any more."""
        ...

    def usage(self, now: float) -> list[LimitUsage]:
        """Return the usage of each limit. Thread-safe."""
        ...


class Windows:
    """Sliding windows of one server: capacity without a store, whose methods need no I/O."""

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        self._windows: list[SlidingWindow] = []
        self.counts_media = False
        self.limit(limits)

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

    def give_back(self, reservation: Reservation) -> None:
        """Do nothing: the attempt counts, as others that fail before they are sent."""

    def back_off(self, seconds: float) -> None:
        """Do nothing: no other server shares the limits."""

    def lack_demand(self) -> None:
        """Do nothing: nothing is held for calls that wait."""

    def usage(self, now: float) -> list[LimitUsage]:
        """Return the usage of each limit. Thread-safe."""
        return [window.usage(now) for window in self._windows]
