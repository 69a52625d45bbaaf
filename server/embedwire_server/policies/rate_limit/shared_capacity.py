"""Capacity that servers share through a quota store; without the store, this server's part of the limits.

Times are seconds of the event loop's clock.
"""

import math
from collections.abc import Sequence

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.capacity import Waiters
from embedwire_server.policies.rate_limit.own_usage import OwnUsage
from embedwire_server.policies.rate_limit.permits import Permits
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.shared_quota import SharedQuota
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage, RateLimit


class SharedCapacity:
    """Capacity of a modality; see `Capacity`.

    A permit that the server holds is used without waiting. If there is none, more are requested in the background. The
    usage of this server restricts it to its part of the limits while the store is unavailable, and as long as the store
    lacks the usage of some servers.

    Args:
        quota: access to the store.
        modality: modality of the inputs.
        limits: the limits of all servers together.
    """

    def __init__(self, quota: SharedQuota, modality: Modality, limits: Sequence[RateLimit]) -> None:
        self._quota = quota
        self._modality = modality
        self._usage = OwnUsage(limits, quota.shares)
        self._permits = Permits(quota, modality, self._usage, self._restrict)

    def serve(self, waiters: Waiters) -> None:
        """Set the calls that wait for it; called once."""
        self._permits.waiters = waiters

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        if tuple(limits) != self._usage.limits:
            self._usage.limit(limits)
            self._permits.return_all()

    @property
    def counts_media(self) -> bool:
        """Whether a limit counts minutes of media."""
        return self._usage.counts_media

    def available_at(
        self, start: float, minutes: float, ahead: Sequence[Reservation] = ()
    ) -> tuple[float, RateLimit | None]:
        """Return the earliest time that this server knows of; the store may need longer."""
        pool, needed = self._permits.pool, self._minutes(minutes)
        is_held = pool.usable(start, needed) > len(ahead)
        if is_held and not self._is_restricted:
            return start, None
        of_usage = self._usage.available_at(start, minutes, ahead)
        if not self._quota.is_available:
            return of_usage
        of_permits = None if is_held else pool.next_at(start, needed)
        if self._is_restricted or ahead or math.isinf(of_usage[0]):
            return max(of_usage, of_permits or of_usage, key=lambda one: one[0])
        return of_permits or (start, None)

    def take(self, now: float, reservation: Reservation) -> bool:
        """Use a permit; without the store, none is needed."""
        if self._quota.is_available:
            reservation.lease = self._permits.take(now, self._minutes(reservation.minutes))
            if reservation.lease is None:
                return False
        self._usage.take(now, reservation)
        return True

    def reconcile(self, now: float, reservation: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation by those that the upstream found, in the store as well."""
        self._usage.reconcile(now, reservation, minutes)
        if reservation.lease is None:
            return
        more = minutes - reservation.lease.demand.minutes
        if more and self._quota.is_available:
            self._quota.settle(reservation.lease, 0, more)
        elif more > 0:
            self._usage.add_unrecorded(now, more)

    def give_back(self, reservation: Reservation) -> None:
        """Return the permit of an attempt that is not made."""
        if reservation.lease is not None:
            self._quota.settle(reservation.lease, 1)

    def back_off(self, seconds: float) -> None:
        """Record in the store that the upstream asked to wait."""
        self._quota.back_off(self._modality, seconds)

    def end_demand(self) -> None:
        """Return the permits that are reserved for a later time: no call waits any more."""
        self._permits.return_later()

    def usage(self, now: float) -> list[LimitUsage]:
        """Return what this server has used. Thread-safe."""
        return self._usage.of_limits(now)

    @property
    def _is_restricted(self) -> bool:
        return self._quota.is_divided or self._permits.is_settling

    def _restrict(self) -> None:
        self._usage.restrict(is_restricted=self._is_restricted)

    def _minutes(self, minutes: float) -> float:
        return minutes if self.counts_media else 0.0
