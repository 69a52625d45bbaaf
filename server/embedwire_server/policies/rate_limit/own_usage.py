"""What this server has used of limits that it shares with others.

Times are seconds of the event loop's clock.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage, RateLimit
from embedwire_server.policies.rate_limit.store import PastUsage
from embedwire_server.policies.rate_limit.windows import Recorded, Windows


class OwnUsage:
    """The usage of this server, and the part of it that the store does not know.

    Args:
        limits: the limits of all servers together.
        shares: number of servers among which they are divided if the server is restricted to its part.

    Attributes:
        limits: the limits of all servers together.
    """

    def __init__(self, limits: Sequence[RateLimit], shares: int) -> None:
        self.limits = tuple(limits)
        self._shares = shares
        self._is_restricted = False
        self._windows = Windows(limits)
        self._unrecorded = Windows(limits)

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        self.limits = tuple(limits)
        self._unrecorded.limit(limits)
        self.restrict(is_restricted=self._is_restricted)

    def restrict(self, *, is_restricted: bool) -> None:
        """Apply this server's part of the limits, or all of them."""
        self._is_restricted = is_restricted
        parts = [_part(limit, self._shares) for limit in self.limits]
        self._windows.limit(parts if is_restricted else self.limits)

    @property
    def counts_media(self) -> bool:
        """Whether a limit counts minutes of media."""
        return self._windows.counts_media

    def available_at(
        self, start: float, minutes: float, ahead: Sequence[Reservation]
    ) -> tuple[float, RateLimit | None]:
        """Return when this usage allows a reservation with these ahead, and the deciding limit."""
        at, limit = self._windows.available_at(start, minutes, ahead)
        if math.isinf(at) and limit and limit.is_media and limit.part_of is not None and minutes > limit.part_of:
            limit = dataclasses.replace(limit, amount=limit.part_of, part_of=None)  # exceeds it with the store as well
        return at, limit

    def take(self, now: float, reservation: Reservation) -> None:
        """Count a reservation; one without a lease is unknown to the store."""
        self._windows.take(now, reservation)
        if reservation.lease is None:
            self._unrecorded.take(now, reservation)

    def reconcile(self, now: float, reservation: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation by those that the upstream found."""
        self._windows.reconcile(now, reservation, minutes)

    def add_unrecorded(self, now: float, minutes: float) -> None:
        """Count minutes of media that the store does not know."""
        self._unrecorded.add_minutes(now, minutes)

    def all(self, now: float) -> list[Recorded]:
        """Return the usage that counts now."""
        return self._windows.recorded(now)

    def unrecorded(self, now: float) -> list[Recorded]:
        """Return what the store does not know of it."""
        return self._unrecorded.recorded(now)

    def note_recorded(self, now: float, recorded: Sequence[Recorded]) -> None:
        """Note that the store knows this usage, which `unrecorded` has returned."""
        self._unrecorded.remove(now, recorded)

    def of_limits(self, now: float) -> list[LimitUsage]:
        """Return the usage of each limit. Thread-safe."""
        return self._windows.usage(now)


def history(recorded: Iterable[Recorded], now: float) -> dict[str, list[PastUsage]]:
    """Return usage in the form for the store.

    A negative amount corrects usage that has been reported. It is left out: the store would count it for too long.
    """
    parts: dict[str, list[PastUsage]] = {}
    for window, usage, amount in recorded:
        if amount > 0:
            parts.setdefault(window.limit.name, []).append(PastUsage(now - usage.at, amount))
    return parts


def _part(limit: RateLimit, shares: int) -> RateLimit:
    return dataclasses.replace(limit, amount=limit.amount // shares, part_of=limit.amount)
