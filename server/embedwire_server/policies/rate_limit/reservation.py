"""Reservation of one attempt: what it counts in each limit."""

import dataclasses
import math

from embedwire_server.policies.rate_limit.sliding_window import SlidingWindow, Usage


@dataclasses.dataclass(slots=True, eq=False)
class Reservation:
    """Reservation of one attempt.

    Attributes:
        minutes: minutes of media, by the file's header; 0 if unknown.
        began: when it was granted.
        media: its usage of each limit on media minutes.
    """

    minutes: float
    began: float = math.inf
    media: list[tuple[SlidingWindow, Usage]] = dataclasses.field(default_factory=list)
