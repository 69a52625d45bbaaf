"""Reservation of one attempt: what it counts in each limit."""

import dataclasses
import math

from embedwire_server.policies.rate_limit.sliding_window import SlidingWindow, Usage
from embedwire_server.policies.rate_limit.store import Lease


@dataclasses.dataclass(slots=True, eq=False)
class Reservation:
    """Reservation of one attempt.

    Attributes:
        minutes: minutes of media, by the file's header; 0 if unknown.
        began: when it was granted.
        media: its usage of each limit on media minutes.
        lease: the lease whose permit it uses; None without a store.
    """

    minutes: float
    began: float = math.inf
    media: list[tuple[SlidingWindow, Usage]] = dataclasses.field(default_factory=list)
    lease: Lease | None = None
