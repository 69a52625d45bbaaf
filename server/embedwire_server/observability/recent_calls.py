"""Calls of the last minutes by reason, and the latest failures, for the status page.

The event loop adds and reads them. The size is bounded: a counter for each interval, and a number of failures.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from embedwire_server.core.totals import Totals

INTERVAL_SECONDS = 10.0
MINUTES = (1, 5, 15)
MAX_FAILURES = 50
_PER_MINUTE = round(60 / INTERVAL_SECONDS)


class FailedCall(NamedTuple):
    """A call that has failed; nothing in it is content of the caller.

    Attributes:
        time: the end of the call, in seconds since the epoch.
        request_id: the valid request id of the caller, or a generated one.
        method: name of the method.
        model: name of the model in the table, or "other".
        reason: reason of the failure.
        code: name of the status code.
        seconds: duration of the call.
        trace_id: the upstream's identifier of the last request; empty if it sent none.
    """

    time: float
    request_id: str
    method: str
    model: str
    reason: str
    code: str
    seconds: float
    trace_id: str


class EndedCall(Protocol):
    """What is needed of the context of a call; see `rpc.call_context.Call`."""

    request_id: str
    model: str
    reason: str
    totals: Totals


class RecentCalls:
    """Calls of EmbeddingService that have ended.

    Args:
        clock: returns seconds; a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._intervals: deque[tuple[int, Counter[str]]] = deque(maxlen=max(MINUTES) * _PER_MINUTE + 1)
        self._failures: deque[FailedCall] = deque(maxlen=MAX_FAILURES)

    def add(self, call: EndedCall, method: str, code: str, seconds: float) -> None:
        """Count a call that has ended.

        Args:
            call: its context; the reason is OK if it has not failed.
            method: name of the method.
            code: name of the status code.
            seconds: duration of the call.
        """
        interval = int(self._clock() / INTERVAL_SECONDS)
        if not self._intervals or self._intervals[-1][0] != interval:
            self._intervals.append((interval, Counter()))
        self._intervals[-1][1][call.reason] += 1
        if call.reason != "OK":
            trace_id = call.totals.upstream_trace_id
            self._failures.append(
                FailedCall(time.time(), call.request_id, method, call.model, call.reason, code, seconds, trace_id)
            )

    @property
    def failures(self) -> list[FailedCall]:
        """The latest failures, the newest first."""
        return [*reversed(self._failures)]

    def by_reason(self) -> dict[str, list[int]]:
        """Return the number of calls of the last 1, 5 and 15 minutes by reason; OK first, then the most frequent.

        Each period is up to `INTERVAL_SECONDS` longer.
        """
        now = int(self._clock() / INTERVAL_SECONDS)
        sums = [self._since(now - minutes * _PER_MINUTE) for minutes in MINUTES]
        reasons = sorted(sums[-1], key=lambda reason: (reason != "OK", -sums[-1][reason], reason))
        return {reason: [counts[reason] for counts in sums] for reason in reasons}

    def _since(self, first: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for interval, counts in self._intervals:
            if interval >= first:
                found.update(counts)
        return found
