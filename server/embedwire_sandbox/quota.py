"""Fixed-window rate limits, one counter per category: a category, or the creation of assets.

Header names: upstream API notes, section 5.1, in both spellings. How a call with several categories counts is not
known; here it counts once for each. Calls that are refused later, for their content, count as well.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from embedwire_sandbox.errors import RefusalError
from embedwire_sandbox.models import Category

_UNLIMITED: Final = 1_000_000  # limit in the headers if none is configured
_AUDIO_SEC: Final = 36_000  # limit of the duration in the headers, which is not enforced


class Quota:
    """Rate limit counters of one sandbox.

    Args:
        limits: Requests allowed per window, by category.
        window_sec: Length of a window, in seconds. It starts with its first request.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, limits: Mapping[Category, int], window_sec: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._limits = dict(limits)
        self._window_sec = window_sec
        self._clock = clock
        self._used: dict[Category, int] = {}
        self._ends: dict[Category, float] = {}

    def spend(self, categories: Iterable[Category], *, retry_after: bool = True, empty: bool = False) -> None:
        """Count one call, or raise without counting it.

        Raises:
            RefusalError: 429, if the limit of one of the categories is reached.
        """
        wanted = tuple(categories)
        for category in wanted:
            self._renew(category)
            if self._left(category) < 1:
                raise self._exceeded(category, retry_after=retry_after, empty=empty)
        for category in wanted:
            self._used[category] += 1

    def headers(self, categories: Iterable[Category]) -> dict[str, str]:
        """Return the rate-limit headers: of the category with the least left, of text if there is none."""
        wanted = tuple(categories) or ("text",)
        for category in wanted:
            self._renew(category)
        tightest = min(wanted, key=self._left)
        remaining, reset = str(max(0, self._left(tightest))), str(math.ceil(self._ends[tightest]))
        return {
            "X-Ratelimit-Limit": str(self._limit(tightest)),
            "X-Ratelimit-Remaining": remaining,
            "X-Ratelimit-Used": str(self._used[tightest]),
            "X-Ratelimit-Reset": reset,
            "X-RateLimit-Request-Remaining": remaining,
            "X-RateLimit-Request-Reset": reset,
        }

    def dimensions(self, categories: Iterable[Category]) -> dict[str, str]:
        """Return the headers for each dimension of the limit: requests, and for audio its duration in seconds."""
        wanted = tuple(categories)
        tightest = min(wanted, key=self._left)
        headers = {
            "X-RateLimit-Dimensions": "Duration,Request" if "audio" in wanted else "Request",
            "X-RateLimit-Request-Limit": str(self._limit(tightest)),
            "X-RateLimit-Request-Used": str(self._used.get(tightest, 0)),
        }
        if "audio" in wanted:
            headers |= {
                "X-RateLimit-Duration-Limit": str(_AUDIO_SEC),
                "X-RateLimit-Duration-Remaining": str(_AUDIO_SEC),
                "X-RateLimit-Duration-Used": "0",
                "X-RateLimit-Duration-Reset": str(math.ceil(self._clock() + self._window_sec)),
            }
        return headers

    def _limit(self, category: Category) -> int:
        return self._limits.get(category, _UNLIMITED)

    def _left(self, category: Category) -> int:
        if category not in self._limits:
            return max(1, _UNLIMITED - self._used[category])
        return self._limits[category] - self._used[category]

    def _renew(self, category: Category) -> None:
        now = self._clock()
        if now >= self._ends.get(category, 0.0):
            self._used[category], self._ends[category] = 0, now + self._window_sec

    def _exceeded(self, category: Category, *, retry_after: bool, empty: bool) -> RefusalError:
        wait = max(1, math.ceil(self._ends[category] - self._clock()))
        until = datetime.fromtimestamp(math.ceil(self._ends[category]), UTC).isoformat().replace("+00:00", "Z")
        return RefusalError(
            429,
            "too_many_requests",
            f"The rate limit of {self._limit(category)} {category} requests per {self._window_sec:g} seconds is"
            f" exceeded. Try again after {until}.",
            headers={"Retry-After": str(wait)} if retry_after else None,
            empty=empty,
        )
