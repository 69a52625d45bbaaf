"""Calls in the queue of a rate limiter, and which of them are too late for what the limits allow."""

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator

from embedwire_server.policies.rate_limit.capacity import Capacity
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.upstreams.base import EmbedCall


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A call that waits for its reservation.

    Attributes:
        call: the call.
        reservation: the reservation.
        granted: done when the reservation is granted or refused, or the call was cancelled.
    """

    call: EmbedCall
    reservation: Reservation
    granted: asyncio.Future[None]


def too_late(
    queue: Iterable[Waiting], capacity: Capacity, start: float
) -> Iterator[tuple[Waiting, float, RateLimit | None]]:
    """Find calls that get no capacity before their deadline.

    Args:
        queue: the calls that wait, in order.
        capacity: the capacity.
        start: the earliest time at which it can be used, in seconds of the event loop's clock.

    Yields:
        A call, when there is capacity for it, and the limit that decides this.
    """
    ahead: list[Reservation] = []
    for waiting in queue:
        if waiting.granted.done():
            continue
        available_at, limit = capacity.available_at(start, waiting.reservation.minutes, ahead)
        if available_at >= waiting.call.deadline:
            yield waiting, available_at, limit
        else:
            ahead.append(waiting.reservation)
