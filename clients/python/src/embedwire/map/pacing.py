"""Adaptive concurrency of a run, and its pauses (additive increase, multiplicative decrease).

A rejection for overload lowers the limit of concurrent calls to those that still run: each frees capacity of the server
when it ends. If none ends before the retry delay has passed, one further call tests whether there is capacity. Each
completed call raises the limit by its reciprocal.
"""

import random
from collections.abc import Sequence

from embedwire.errors import Failure

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0
LONGEST_DELAY = 24 * 3600.0  # a longer retry delay is a mistake of the server
_REJECTIONS = ("OVERLOADED", "RATE_LIMITED", "DRAINING")


def is_rejection(failure: Failure) -> bool:
    """Return whether a policy of the server rejected the input or the call for a temporary reason."""
    return failure.reason in _REJECTIONS


def was_processed(failure: Failure) -> bool:
    """Return whether the server worked on the call: neither gRPC nor the deadline ended it."""
    return failure.reason not in ("", "DEADLINE_EXCEEDED", "CANCELLED")


def is_too_large(failure: Failure) -> bool:
    """Return whether a request alone exceeds a rate limit: the server sent no retry delay."""
    return failure.reason == "RATE_LIMITED" and failure.retry_delay is None


class Pacing:
    """Limiter of the concurrent calls of a run.

    Args:
        concurrent_calls: maximum number of concurrent calls.

    Attributes:
        paused_until: end of the current pause, in seconds of the run's clock.
        paused_seconds: sum of all pauses.
    """

    def __init__(self, concurrent_calls: int) -> None:
        self.paused_until = float("-inf")
        self.paused_seconds = 0.0
        self._running = 0
        self._most = concurrent_calls
        self._limit = float(concurrent_calls)
        self._backoff = FIRST_BACKOFF
        self._backed_off_at = float("-inf")
        self._tests_at = float("inf")  # when one call more than are running may be sent

    @property
    def opens_at(self) -> float:
        """Return when the next call may be sent, in seconds of the run's clock; infinity if one has to end first."""
        return max(self.paused_until, float("-inf") if self._running < int(self._limit) else self._tests_at)

    def sent(self) -> None:
        """Record a call that is sent."""
        self._running += 1
        self._limit = max(self._limit, self._running)
        self._tests_at = float("inf")

    def completed(self) -> None:
        """Record the end of a call that the server worked on."""
        self.failed()
        self._backoff = FIRST_BACKOFF
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def failed(self) -> None:
        """Record the end of a call without a response, which has no information about the load of the server."""
        self._running -= 1
        self._tests_at = float("inf")  # there is capacity now

    def rejected(self, failures: Sequence[Failure], sent_at: float, now: float) -> None:
        """Record the end of a call that was rejected, as a whole or for some of its inputs.

        Args:
            failures: the rejections.
            sent_at: when the call was sent.
            now: the time.
        """
        self.failed()
        reasons = {failure.reason for failure in failures}
        delay = min(max(failure.retry_delay or 0.0 for failure in failures), LONGEST_DELAY)
        until = now + (delay if delay > 0 else self._next_backoff(sent_at, now))
        if "OVERLOADED" in reasons:
            self._limit = max(1.0, self._running)
            self._tests_at = until
        if reasons == {"OVERLOADED"} and self._running:
            return  # the end of a running call may free capacity before that
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
