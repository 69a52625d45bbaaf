"""Interface of the capacity of a rate limiter: `Windows` of one server, or `SharedCapacity` of several.

Times are seconds of the event loop's clock.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage, RateLimit


class WaitingCall(NamedTuple):
    """A call that waits for capacity.

    Attributes:
        deadline: its deadline.
        minutes: minutes of media, by the file's header; 0 if unknown.
    """

    deadline: float
    minutes: float


class Waiters(Protocol):
    """The calls that wait for capacity."""

    def waiting(self) -> Sequence[WaitingCall]:
        """Return them in the order in which they get it."""
        ...

    def capacity_changed(self) -> None:
        """Grant what is available now."""
        ...

    def limits_changed(self) -> None:
        """Grant what is available now, and reject those that get no capacity before their deadline."""
        ...

    def refuse(self, available_at: float, limit: RateLimit | None, minutes: float = 0.0) -> None:
        """Reject those of at least these minutes whose deadline is not later than this time.

        Before this time, there is no capacity for these minutes.
        """
        ...

    def learn_back_off(self, seconds: float) -> None:
        """Start a back-off that another server has recorded."""
        ...


class Capacity(Protocol):
    """Capacity of a credential for a modality."""

    def serve(self, waiters: Waiters) -> None:
        """Set the calls that wait for it; called once."""
        ...

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
        """Return when a reservation with these ahead may be possible, from `start` on, and the deciding limit, if any.

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

    def end_demand(self) -> None:
        """Note that no call waits any more."""
        ...

    def usage(self, now: float) -> list[LimitUsage]:
        """Return the usage of each limit. Thread-safe."""
        ...
