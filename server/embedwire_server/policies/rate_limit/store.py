"""Interface of the store through which servers share the rate limits of one credential.

A server takes several permits at a time, a lease, so that an input rarely waits for the store. The store counts every
permit of a lease as used, at the latest time at which it may be used; so a limit is never exceeded, whichever server
uses it. What a server does not use, it returns.

Times are seconds of the event loop's clock of the server that asks, so that clocks of machines need not agree.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.sliding_window import RateLimit

LEASE_SECONDS = 0.5  # time in which a permit may be used; the store counts it until a window after the end of this time


class QuotaStoreUnavailable(Exception):
    """The store cannot answer, or did not within its time limit (50 ms)."""


class PastUsage(NamedTuple):
    """What a server has used in a part of a window.

    Attributes:
        age: seconds since the latest use of that part.
        amount: requests, or minutes of media.
    """

    age: float
    amount: float


# Usage of each limit, by its name, for a store that has lost its state.
UsageHistory = Mapping[str, Sequence[PastUsage]]


class Demand(NamedTuple):
    """What a server asks for.

    Attributes:
        modality: modality of the inputs.
        limits: limits of the credential for this modality; may be empty.
        requests: number of permits that are wanted, at least 1; the store may grant fewer.
        minutes: minutes of media of the first request; 0 unless a limit counts them. Then `requests` is 1.
        latest: time after which a permit is of no use; the store grants none then, and reserves nothing. -inf asks for
            no permit: the server only reports, and learns of back-offs. The answer then has no permits.
        unrecorded: what the server has used without permits while the store was unavailable, not reported before. The
            store adds it to its own usage; it ignores it if it calls `history`, which contains it.
    """

    modality: Modality
    limits: Sequence[RateLimit]
    requests: int
    minutes: float
    latest: float
    unrecorded: UsageHistory = MappingProxyType({})


@dataclasses.dataclass(slots=True, eq=False)
class Lease:
    """Answer of the store.

    Attributes:
        demand: what was asked for.
        permits: number of permits; 0 if the limits allow none until `Demand.latest`.
        available_at: when the permits may be used, or, without permits, when the first would be. Never in the past.
        until: time after which a permit must not be used any more. Without permits, `available_at`.
        limit: limit that decides `available_at`; None if none does.
        back_off: seconds until the longest back-off ends that any of the servers has recorded; 0 without one.
        is_settling: whether the store has lost its state a moment ago, and not all servers have reported their usage
            yet: the server must keep to its part of the limits as well.
        data: what the store needs to settle the lease.
    """

    demand: Demand
    permits: int
    available_at: float
    until: float
    limit: RateLimit | None = None
    back_off: float = 0.0
    is_settling: bool = False
    data: object = None


class QuotaStore(Protocol):
    """Shared usage of the rate limits of the server's own credential. Every method returns or raises within 50 ms."""

    async def lease(self, demand: Demand, history: Callable[[], UsageHistory]) -> Lease:
        """Take permits.

        Servers are served in the order in which they ask: permits of a full limit are granted for a later time.

        Args:
            demand: what is wanted.
            history: returns what this server has used in the present windows. Called if the store has lost its state.

        Raises:
            QuotaStoreUnavailable: see there. The store may have counted the permits; they expire.
        """
        ...

    async def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:
        """Return unused permits, and correct the minutes of media by this difference, which may be negative.

        Raises:
            QuotaStoreUnavailable: see there.
        """
        ...

    async def back_off(self, modality: Modality, seconds: float) -> None:
        """Record that the upstream asked to wait: other servers learn it with their next lease.

        Raises:
            QuotaStoreUnavailable: see there.
        """
        ...
