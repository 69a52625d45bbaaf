"""Detection of outages: the inputs of a batch fail one after the other for temporary reasons."""

import dataclasses
import random

from embedwire.batch.records import Record

# Number of inputs that fail without a success between them. Single inputs may fail for reasons of their own.
_MANY = 8
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_LONGEST_DELAY = 3600.0  # a longer retry delay is a mistake of the server


@dataclasses.dataclass(slots=True, eq=False)
class OpenInput:
    """An input that was read and has not ended.

    Attributes:
        record: its record.
        task_id: identifier of the upstream's task; empty if there is none.
        calls: number of calls that it was sent with.
        attempts: number of failures that count for the limit.
        failures: number of all failures.
        sent_after: number of inputs that had been embedded when it was sent.
        failed_after: the same, of its last failure.
    """

    record: Record
    task_id: str = ""
    calls: int = 0
    attempts: int = 0
    failures: int = 0
    sent_after: int = 0
    failed_after: int = -1


class Outage:
    """State of the outage detection, with a clock of the caller in seconds. Not safe to share between threads.

    An outage begins when 8 inputs have failed without a success. During it, one input at a time is sent as a test,
    after pauses of 0.5 to 30 seconds. It ends with the first success.

    Attributes:
        sends_at: when the next input may be sent.
        embedded: number of inputs that were embedded.
    """

    def __init__(self) -> None:
        self.sends_at = float("-inf")
        self.embedded = 0
        self._failed = 0
        self._failing_since: float | None = None
        self._pause = _FIRST_PAUSE

    @property
    def is_on(self) -> bool:
        """Whether there is an outage."""
        return self._failed >= _MANY

    def sent(self, item: OpenInput, now: float) -> None:
        """Record an input that is sent."""
        item.calls += 1
        item.sent_after = self.embedded
        if self.is_on:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self.sends_at = now + self._pause

    def succeeded(self) -> None:
        """Record an input that was embedded."""
        self.embedded += 1
        self.reached()

    def reached(self) -> None:
        """Record that the server and the upstream work: an input was embedded, or rejected for its content."""
        self._failed = 0
        self._failing_since = None
        self._pause = _FIRST_PAUSE
        self.sends_at = float("-inf")

    def failed(self, item: OpenInput, now: float, *, has_reached_server: bool) -> None:
        """Record a temporary failure of an input.

        It counts as an attempt unless it is part of an outage: if other inputs were embedded since the input was sent,
        or if it has reached the server and there is no outage.
        """
        if self._failing_since is None:
            self._failing_since = now
        item.failures += 1
        item.attempts += item.sent_after < self.embedded or (has_reached_server and not self.is_on)
        if item.failed_after != self.embedded:
            item.failed_after = self.embedded
            self._failed += 1
            if self._failed == _MANY:
                self.sends_at = now + self._pause

    def seconds(self, now: float) -> float:
        """Return how long all inputs have been failing; 0 if the last one was embedded."""
        return 0.0 if self._failing_since is None else now - self._failing_since


def backoff(item: OpenInput, retry_delay: float | None) -> float:
    """Return the delay in seconds before an input is sent again: exponential, or that of the server if it is longer."""
    longest = min(FIRST_BACKOFF * 2.0 ** min(item.failures - 1, 20), LONGEST_BACKOFF)
    return max(random.uniform(0.5, 1) * longest, min(retry_delay or 0.0, _LONGEST_DELAY))  # noqa: S311 - not for cryptography
