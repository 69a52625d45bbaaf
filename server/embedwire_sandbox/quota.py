"""Fixed-window rate limits, one counter per modality.

Header names: upstream API notes, section 5.1, in both spellings. How a call with several modalities counts is not
known; here it counts once for each. Calls that are refused later, for their content, count as well.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from embedwire_sandbox.errors import RefusalError
from embedwire_sandbox.models import Modality

_UNLIMITED: Final = 1_000_000  # limit in the headers if none is configured


class Quota:
    """Rate limit counters of one sandbox.

    Args:
        limits: Requests allowed per window, by modality.
        window_sec: Length of a window, in seconds. It starts with its first request.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, limits: Mapping[Modality, int], window_sec: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._limits = dict(limits)
        self._window_sec = window_sec
        self._clock = clock
        self._used: dict[Modality, int] = {}
        self._ends: dict[Modality, float] = {}

    def spend(self, modalities: Iterable[Modality], *, retry_after: bool = True, empty: bool = False) -> None:
        """Count one call, or raise without counting it.

        Raises:
            RefusalError: 429, if the limit of one of the modalities is reached.
        """
        wanted = tuple(modalities)
        for modality in wanted:
            self._renew(modality)
            if self._left(modality) < 1:
                raise self._exceeded(modality, retry_after=retry_after, empty=empty)
        for modality in wanted:
            self._used[modality] += 1

    def headers(self, modalities: Iterable[Modality]) -> dict[str, str]:
        """Return the rate-limit headers: of the modality with the least left, of text if there is none."""
        wanted = tuple(modalities) or ("text",)
        for modality in wanted:
            self._renew(modality)
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

    def _limit(self, modality: Modality) -> int:
        return self._limits.get(modality, _UNLIMITED)

    def _left(self, modality: Modality) -> int:
        if modality not in self._limits:
            return max(1, _UNLIMITED - self._used[modality])
        return self._limits[modality] - self._used[modality]

    def _renew(self, modality: Modality) -> None:
        now = self._clock()
        if now >= self._ends.get(modality, 0.0):
            self._used[modality], self._ends[modality] = 0, now + self._window_sec

    def _exceeded(self, modality: Modality, *, retry_after: bool, empty: bool) -> RefusalError:
        wait = max(1, math.ceil(self._ends[modality] - self._clock()))
        until = datetime.fromtimestamp(math.ceil(self._ends[modality]), UTC).isoformat().replace("+00:00", "Z")
        return RefusalError(
            429,
            "too_many_requests",
            f"The rate limit of {self._limit(modality)} {modality} requests per {self._window_sec:g} seconds is"
            f" exceeded. Try again after {until}.",
            headers={"Retry-After": str(wait)} if retry_after else None,
            empty=empty,
        )
