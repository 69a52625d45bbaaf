"""Usage of the rate limits of the server's own credential, for the status page and metrics."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.capacity import Capacity
from embedwire_server.policies.rate_limit.sliding_window import LimitUsage
from embedwire_server.upstreams.base import UpstreamLimit


class ModalityUsage(NamedTuple):
    """Usage of the rate limits of a modality.

    Attributes:
        modality: the modality.
        configured: the configured limits.
        back_off: seconds until a back-off of the upstream ends; 0 without one.
        reported: the limits that the upstream has reported; `resets_in` counts from now, 0 if the limit has been reset.
        reported_ago: seconds since it has reported them.
    """

    modality: Modality
    configured: Sequence[LimitUsage]
    back_off: float
    reported: Sequence[UpstreamLimit]
    reported_ago: float


def usage_of(
    modality: Modality,
    capacity: Capacity,
    back_off_until: float,
    reported: Sequence[UpstreamLimit],
    arrived: float,
) -> ModalityUsage:
    """Return the usage now; the times are those of the event loop's clock."""
    now = asyncio.get_running_loop().time()
    return ModalityUsage(
        modality,
        capacity.usage(now),
        max(0.0, back_off_until - now),
        [limit._replace(resets_in=max(0.0, limit.resets_in + arrived - now)) for limit in reported],
        now - arrived,
    )


class Remainder(NamedTuple):
    """What remains of a limit that the upstream has reported."""

    remaining: float
    limit: float


def tightest(limits: Iterable[UpstreamLimit]) -> Remainder | None:
    """Return the limit of which the smallest part remains; None if no limit is known together with its remainder."""
    known = [Remainder(one.remaining, one.limit) for one in limits if one.limit and one.remaining is not None]
    return min(known, key=lambda one: one.remaining / one.limit, default=None)
