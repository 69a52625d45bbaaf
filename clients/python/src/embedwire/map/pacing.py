"""How many calls a run sends at a time, and when it pauses: it adapts to the rejections of the server.

A rejection for overload lowers the number of calls to those that are still running: each of them frees a place when it
ends. Each completed call raises the number by its reciprocal (additive increase, multiplicative decrease).
"""

import random
from collections.abc import Sequence

from embedwire.errors import Failure

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0
_REJECTIONS = ("OVERLOADED", "RATE_LIMITED", "DRAINING")


def is_rejection(failure: Failure) -> bool:
    """Whether a policy of the server rejected the input or the call, and another time may accept it."""
    return failure.reason in _REJECTIONS


def is_too_large(failure: Failure) -> bool:
    """Whether a request is larger than the rate limit that it counts for: no time to wait for is given."""
    return failure.reason == "RATE_LIMITED" and failure.retry_delay is None


class Pacing:
    """The calls of a run that run at the same time.

    Args:
        concurrent_calls: largest number of calls at a time.

    Attributes:
        running: number of calls that run.
        paused_until: when the pause of the run ends, in seconds of its clock.
        paused_seconds: total length of all pauses.
    """

    def __init__(self, concurrent_calls: int) -> None:
        self.running = 0
        self.paused_until = float("-inf")
        self.paused_seconds = 0.0
        self._most = concurrent_calls
        self._limit = float(concurrent_calls)
        self._backoff = FIRST_BACKOFF
        self._backed_off_at = float("-inf")

    @property
    def has_room(self) -> bool:
        """Whether a further call may run."""
        return self.running < int(self._limit)

    def completed(self) -> None:
        """Count the end of a call that was not rejected."""
        self.running -= 1
        self._backoff = FIRST_BACKOFF
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def rejected(self, failures: Sequence[Failure], sent_at: float, now: float) -> None:
        """Count the end of a call that was rejected, as a whole or for some of its inputs.

        Args:
            failures: the rejections.
            sent_at: when the call was sent.
            now: the time.
        """
        self.running -= 1
        reasons = {failure.reason for failure in failures}
        if "OVERLOADED" in reasons:
            self._limit = max(1.0, float(self.running))
        if reasons == {"OVERLOADED"} and self.running:
            return  # the end of a running call frees a place
        delay = max(failure.retry_delay or 0.0 for failure in failures)
        until = now + (delay if delay > 0 else self._next_backoff(sent_at, now))
        self.paused_seconds += max(0.0, until - max(now, self.paused_until))
        self.paused_until = max(until, self.paused_until)

    def _next_backoff(self, sent_at: float, now: float) -> float:
        """Return the next back-off; calls that were sent before the last one do not raise it again."""
        if sent_at >= self._backed_off_at:
            self._backed_off_at, delay = now, self._backoff
            self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)
        else:
            delay = self._backoff / 2
        return delay * random.uniform(0.5, 1)  # noqa: S311 - not for cryptography
