"""Sliding-window rate limits: the limit applies to every window, wherever it begins.

Times are seconds of the event loop's clock.
"""

import dataclasses
import math
from collections import deque
from typing import NamedTuple

# Seconds added to each window. The upstream counts a request when it arrives: one that is delayed more than the next
# could otherwise exceed the limit.
MARGIN_SECONDS = 1.0
# Size of a burst, as seconds of the limit; the rest of a minute is spread evenly, so that later inputs find capacity.
BURST_SECONDS = 2.0
LEAST_MINUTES = 1e-6  # amount of media of unknown length
# Parts of a window; usage is recorded per part, so that a window has a bounded size.
_PARTS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class RateLimit:
    """A configured rate limit.

    Attributes:
        name: description, such as "audio requests per minute".
        amount: allowed amount per window.
        seconds: length of the window.
        is_media: whether it counts minutes of media, not requests.
        is_spread: whether requests are spread evenly over a short window, so that later inputs find capacity.
        part_of: the amount of all servers, if `amount` is the part of one while they cannot share it.
    """

    name: str
    amount: int
    seconds: float
    is_media: bool = False
    is_spread: bool = True
    part_of: int | None = None

    @property
    def is_even(self) -> bool:
        """Whether usage is spread evenly over the window: not over a long one, and not minutes of media."""
        return self.is_spread and not self.is_media and self.seconds <= 60  # noqa: PLR2004 - a minute


@dataclasses.dataclass(slots=True, eq=False)
class Usage:
    """Usage in one part of a window; all of it counts from the latest time, `at`, which is -inf once it has expired.

    So a limit is never exceeded; usage may count for longer than the window, by one part at most.
    """

    since: float
    at: float
    amount: float


class LimitUsage(NamedTuple):
    """Usage of a limit.

    Attributes:
        name: name of the limit.
        amount: allowed amount per window.
        used: amount that counts now.
        free_in: seconds until all of it is free again.
    """

    name: str
    amount: int
    used: float
    free_in: float

    @property
    def remaining(self) -> float:
        """Amount that is left now."""
        return max(0.0, self.amount - self.used)


class SlidingWindow:
    """Sliding window: the usage of the last seconds, and when more is allowed."""

    def __init__(self, limit: RateLimit) -> None:
        self._usages: deque[Usage] = deque()
        self._total = 0.0
        self._next = -math.inf  # when the next request is due at an even rate
        self.set_limit(limit)

    def set_limit(self, limit: RateLimit) -> None:
        """Change the limit; past usage counts for it."""
        self.limit = limit
        self._seconds = limit.seconds + MARGIN_SECONDS
        self._part = limit.seconds / _PARTS
        self._spacing = self._seconds / limit.amount if limit.is_even and limit.amount else 0.0

    def available_at(self, now: float, amount: float, ahead: float = 0.0) -> float:
        """Return when this amount is allowed, if `ahead` is used before it; infinity if it exceeds the limit."""
        if max(amount, LEAST_MINUTES) > self.limit.amount:
            return math.inf
        self.forget(now)
        even = max(self._next, now) - BURST_SECONDS + ahead * self._spacing if self._spacing else now
        return max(now, even, self._capacity_at(now, max(amount + ahead, LEAST_MINUTES)))

    def consume(self, now: float, amount: float) -> Usage:
        """Record usage now."""
        usage = self._usages[-1] if self._usages else None
        if usage is None or now - usage.since >= self._part:
            usage = Usage(now, now, 0.0)
            self._usages.append(usage)
        usage.at = now
        usage.amount += amount
        self._total += amount
        self._next = max(self._next, now) + amount * self._spacing
        return usage

    def adjust(self, now: float, usage: Usage, more: float) -> None:
        """Correct recorded usage by this amount, which may be negative."""
        self.forget(now)
        if usage.at > -math.inf:
            self._total += more
            usage.amount += more
            self._next += more * self._spacing

    def record_past(self, at: float, amount: float) -> None:
        """Record usage of an earlier time, which may be before that of other usage."""
        if not self._usages or self._usages[-1].at <= at:
            self.consume(at, amount)
            return
        place = next(number for number, usage in enumerate(self._usages) if usage.at >= at)
        if self._usages[place].since - at >= self._part:
            self._usages.insert(place, Usage(at, at, 0.0))
        self._usages[place].amount += amount
        self._total += amount
        self._next += amount * self._spacing

    def part_at(self, at: float) -> Usage | None:
        """Return the recorded part with the usage of this time; None if it has expired."""
        return next((usage for usage in self._usages if usage.since <= at <= usage.at), None)

    def allowed(self, at: float, most: int, early: float) -> int:
        """Return how many requests are allowed at this time, at most `most`.

        Args:
            at: the time, not before that of the last usage.
            most: number of requests that are wanted.
            early: seconds by which they may be ahead of the even rate.
        """
        free = self.limit.amount - sum(usage.amount for usage in self._usages if usage.at + self._seconds > at)
        if self._spacing:
            free = min(free, (at + BURST_SECONDS + early - max(self._next, at)) / self._spacing + 1)
        return max(0, min(most, math.floor(free)))

    def copy(self) -> "SlidingWindow":
        """Return an independent copy, to find out what would be allowed after further usage."""
        copied = SlidingWindow(self.limit)
        copied._usages = deque(Usage(one.since, one.at, one.amount) for one in self._usages)
        copied._total, copied._next = self._total, self._next
        return copied

    def recorded(self, now: float) -> list[Usage]:
        """Return the usage that counts now."""
        self.forget(now)
        return list(self._usages)

    def usage(self, now: float) -> LimitUsage:
        """Return the usage of the window that ends now. Thread-safe."""
        counted = [usage for usage in self._usages.copy() if usage.at + self._seconds > now]  # the copy is atomic
        ends = counted[-1].at + self._seconds - now if counted else 0.0
        return LimitUsage(self.limit.name, self.limit.amount, sum(usage.amount for usage in counted), ends)

    def _capacity_at(self, now: float, amount: float) -> float:
        rounds, rest = divmod(amount, self.limit.amount)
        if rounds and not rest:
            rounds, rest = rounds - 1, float(self.limit.amount)
        excess = self._total + rest - self.limit.amount
        at = now
        for usage in self._usages:
            if excess <= 0:
                break
            excess -= usage.amount
            at = usage.at + self._seconds
        return at + rounds * self._seconds

    def forget(self, now: float) -> None:
        """Drop the usage that no longer counts at this time."""
        while self._usages and self._usages[0].at + self._seconds <= now:
            usage = self._usages.popleft()
            self._total -= usage.amount
            usage.at = -math.inf
        if not self._usages:
            self._total = 0.0  # removes accumulated rounding errors
