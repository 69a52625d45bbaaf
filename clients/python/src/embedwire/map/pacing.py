"""How many calls a run sends at a time, and when it pauses: it adapts to the rejections of the server.

A rejection for overload lowers the number of calls to those that are still running: each of them frees a place when it
ends. If none ends before the delay of the rejection has passed, one further call tests whether there is a place.
Each completed call raises the number by its reciprocal (additive increase, multiplicative decrease).
"""

import random
from collections.abc import Sequence

from embedwire.errors import Failure

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0
LONGEST_DELAY = 24 * 3600.0  # of the delays that a server asks for
_REJECTIONS = ("OVERLOADED", "RATE_LIMITED", "DRAINING")


def is_rejection(failure: Failure) -> bool:
    """Whether a policy of the server rejected the input or the call, and another time may accept it."""
    return failure.reason in _REJECTIONS


def was_processed(failure: Failure) -> bool:
    """Whether the server has worked on the call: neither gRPC nor the deadline ended it."""
    return failure.reason not in ("", "DEADLINE_EXCEEDED", "CANCELLED")


def is_too_large(failure: Failure) -> bool:
    """Whether a request is larger than the rate limit that it counts for: no time to wait for is given."""
    return failure.reason == "RATE_LIMITED" and failure.retry_delay is None


class Pacing:
    """The calls of a run that run at the same time.

    Args:
        concurrent_calls: largest number of calls at a time.

    Attributes:
        paused_until: when the pause of the run ends, in seconds of its clock.
        paused_seconds: total length of all pauses.
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
        """When a further call may be sent, in seconds of the run's clock; infinity if another one has to end first."""
        return max(self.paused_until, float("-inf") if self._running < int(self._limit) else self._tests_at)

    def sent(self) -> None:
        """Count a call that is sent."""
        self._running += 1
        self._limit = max(self._limit, self._running)
        self._tests_at = float("inf")

    def completed(self) -> None:
        """Count the end of a call that the server has worked on."""
        self.failed()
        self._backoff = FIRST_BACKOFF
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def failed(self) -> None:
        """Count the end of a call that was not made or got no answer; it says nothing about the load of the server."""
        self._running -= 1
        self._tests_at = float("inf")  # there is room now

    def rejected(self, failures: Sequence[Failure], sent_at: float, now: float) -> None:
        """Count the end of a call that was rejected, as a whole or for some of its inputs.

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
            return  # the end of a running call may free a place before that
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
