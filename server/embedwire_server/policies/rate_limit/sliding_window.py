"""Rate limits as sliding windows: in none of them more than the limit, wherever it begins.

Times are seconds of the event loop's clock.
"""

import dataclasses
import math
from collections import deque

# A request counts at the upstream when it arrives, not when it is sent: one on its way for longer than
# the next could make one too many.
_MARGIN = 1.0
# What this many seconds allow may go at once; the rest of a minute is spread, so that the next
# input finds something left.
_BURST_SECONDS = 2.0
_LEAST = 1e-6  # what is of unknown length has some
# In a part of this length of a window, all counts as if it went together, so that a window has a bounded size.
_PARTS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit as an operator sets it.

    Attributes:
        name: what it limits, in words: "audio requests per minute".
        amount: how much in a window.
        seconds: the window's length.
        is_media: whether it counts minutes of media, not requests.
        is_spread: whether short windows are used evenly, so that the next input finds something left.
    """

    name: str
    amount: int
    seconds: float
    is_media: bool = False
    is_spread: bool = True


@dataclasses.dataclass(slots=True, eq=False)
class Usage:
    """What went within a part of a window; all of it counts from the latest time, which is -inf once it does not count.

    So a limit is never exceeded. What went may count for longer than the window, by one part at most.
    """

    since: float
    at: float
    amount: float


class SlidingWindow:
    """What has gone in the last so many seconds, and when more may."""

    def __init__(self, limit: RateLimit) -> None:
        self._gone: deque[Usage] = deque()
        self._total = 0.0
        self._next = -math.inf  # when the next one is due if they go evenly
        self.set_limit(limit)

    def set_limit(self, limit: RateLimit) -> None:
        """Go by this limit from now on; what has gone counts for it."""
        self.limit = limit
        self._seconds = limit.seconds + _MARGIN
        self._part = limit.seconds / _PARTS
        is_short = limit.seconds <= 60  # noqa: PLR2004 - a day is not spread, but used as it comes
        self._spacing = self._seconds / limit.amount if is_short and limit.is_spread and not limit.is_media else 0.0

    def available_at(self, now: float, amount: float, ahead: float = 0.0) -> float:
        """When this amount may go if as much as `ahead` goes before it; infinity if it never fits."""
        if amount > self.limit.amount:
            return math.inf
        self._forget(now)
        even = max(self._next, now) - _BURST_SECONDS + ahead * self._spacing if self._spacing else now
        return max(now, even, self._room(now, max(amount + ahead, _LEAST)))

    def consume(self, now: float, amount: float) -> Usage:
        """Count what goes now."""
        gone = self._gone[-1] if self._gone else None
        if gone is None or now - gone.since >= self._part:
            gone = Usage(now, now, 0.0)
            self._gone.append(gone)
        gone.at = now
        gone.amount += amount
        self._total += amount
        self._next = max(self._next, now) + amount * self._spacing
        return gone

    def adjust(self, now: float, gone: Usage, more: float) -> None:
        """Count so much more than was taken for it when it went, or less if it is negative."""
        self._forget(now)
        if gone.at > -math.inf:
            self._total += more
            gone.amount += more

    def _room(self, now: float, amount: float) -> float:
        rounds, rest = divmod(amount, self.limit.amount)
        if rounds and not rest:
            rounds, rest = rounds - 1, float(self.limit.amount)
        excess = self._total + rest - self.limit.amount
        at = now
        for gone in self._gone:
            if excess <= 0:
                break
            excess -= gone.amount
            at = gone.at + self._seconds
        return at + rounds * self._seconds

    def _forget(self, now: float) -> None:
        while self._gone and self._gone[0].at + self._seconds <= now:
            gone = self._gone.popleft()
            self._total -= gone.amount
            gone.at = -math.inf
        if not self._gone:
            self._total = 0.0  # sums of fractions drift
