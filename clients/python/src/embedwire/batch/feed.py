"""The inputs of a run of `Client.map`: those of the source that are not complete, and those to be sent again."""

import dataclasses
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from embedwire import blocking
from embedwire.batch.ledger import Admission, Ledger
from embedwire.batch.outage import OpenInput, Outage
from embedwire.batch.progress import Tally
from embedwire.batch.records import InvalidRecord, Record, Source
from embedwire.inputs import AnyInput, Audio

Prepare = Callable[[AnyInput], AnyInput]

_COUNTED = {
    Admission.EMBEDDED_BEFORE: "resumed",
    Admission.FAILED_BEFORE: "failed",
    Admission.INVALID: "failed",
    Admission.DUPLICATE: "duplicates",
}


class Feed:
    """Iterable of inputs, for one iteration, which the reading thread of `map` advances. It ends when no input is open.

    It blocks while it waits for inputs that may have to be sent again, and during an outage.

    Args:
        source: the records.
        ledger: the states of the inputs.
        tally: counters of the progress.
        prepare: function that sets options of an input; None if there is none.
        most_waiting: number of inputs that wait to be sent again from which on no new ones are read.
    """

    def __init__(
        self, source: Source, ledger: Ledger, tally: Tally, prepare: Prepare | None, most_waiting: int
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._tally = tally
        self._prepare = prepare
        self._most_waiting = most_waiting
        self._outage = Outage()
        self._reason = ""
        self._open: dict[int, OpenInput] = {}  # sent, by position
        self._waiting: list[tuple[float, int, OpenInput]] = []  # a heap: when it is sent again, a number, the input
        self._numbers = itertools.count()
        self._is_exhausted = self._is_stopped = False
        self._changed = threading.Condition()  # reentrant: a signal handler may call `stop`

    def __iter__(self) -> Iterator[AnyInput]:
        """Yield the inputs. The iterator of the source is closed at the end."""
        records = iter(self._source)
        try:
            for position in itertools.count():
                item = self._next(records)
                if item is None:
                    return
                value = self._input(item)
                with self._changed:
                    if self._is_stopped:
                        return
                    self._outage.sent(item, time.monotonic())
                    self._open[position] = item
                yield value
        finally:
            blocking.close(records)

    # For the consumer of the run.

    def get(self, position: int) -> OpenInput:
        """Return an open input by its position in the iterable."""
        with self._changed:
            return self._open[position]

    def embedded(self, position: int) -> None:
        """Remove an input that was embedded."""
        with self._changed:
            self._outage.succeeded()
            self._end(position)

    def failed(self, position: int, *, has_reached_upstream: bool) -> None:
        """Remove an input that failed permanently."""
        with self._changed:
            if has_reached_upstream:
                self._outage.reached()
            self._end(position)

    def failed_for_now(self, position: int, reason: str, *, has_reached_server: bool) -> OpenInput:
        """Count a temporary failure of an input, and return it."""
        with self._changed:
            item = self._open[position]
            self._reason = reason
            self._outage.failed(item, time.monotonic(), has_reached_server=has_reached_server)
            return item

    def send_again(self, position: int, delay: float) -> None:
        """Send an input again after a delay in seconds."""
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + delay, next(self._numbers), self._open[position]))
            self._end(position)

    def stop(self) -> bool:
        """Read and send no further input. Return whether no input is open."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            return not self._open

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped."""
        return self._is_stopped

    @property
    def is_over(self) -> bool:
        """Whether it was stopped and all sent inputs have ended. The source may still block then."""
        with self._changed:
            return self._is_stopped and not self._open

    @property
    def is_complete(self) -> bool:
        """Whether all records were read and have ended."""
        with self._changed:
            return self._is_exhausted and not self._open and not self._waiting

    @property
    def in_flight(self) -> int:
        """Number of inputs that were sent and have not ended."""
        return len(self._open)

    @property
    def failing_seconds(self) -> float:
        """How long all inputs have been failing for temporary reasons; 0 if the last one was embedded."""
        with self._changed:
            return self._outage.seconds(time.monotonic())

    @property
    def waiting_seconds(self) -> float:
        """Seconds until the next attempt in an outage; 0 if there is none."""
        with self._changed:
            return max(0.0, self._outage.sends_at - time.monotonic()) if self._outage.is_on else 0.0

    @property
    def outage_reason(self) -> str:
        """Reason or code of the last temporary failure, in an outage; empty if there is none."""
        with self._changed:
            return self._reason if self._outage.is_on else ""

    def _end(self, position: int) -> None:
        del self._open[position]
        self._changed.notify_all()

    # The reading thread.

    def _next(self, records: Iterator[Record | InvalidRecord]) -> OpenInput | None:
        """Return the next input to send; None if there is no further one."""
        while True:
            with self._changed:
                now = time.monotonic()
                if self._has_ended:
                    return None
                if self._is_due(now):
                    return heapq.heappop(self._waiting)[-1]
                if self._has_to_wait(now):
                    self._changed.wait(self._timeout(now))
                    continue
            record = next(records, None)
            if record is None:
                self._is_exhausted = True
            elif (item := self._admitted(record)) is not None:
                return item

    @property
    def _has_ended(self) -> bool:
        return self._is_stopped or self.is_complete

    def _is_due(self, now: float) -> bool:
        """Return whether an input is sent again now."""
        return bool(self._waiting) and now >= max(self._waiting[0][0], self._outage.sends_at)

    def _has_to_wait(self, now: float) -> bool:
        return self._is_exhausted or len(self._waiting) >= self._most_waiting or now < self._outage.sends_at

    def _timeout(self, now: float) -> float | None:
        """Return how long to wait if no input ends in the meantime; None if that is the only event."""
        if not self._waiting:
            return max(0.0, self._outage.sends_at - now) if self._outage.is_on and not self._is_exhausted else None
        return min(max(0.0, self._waiting[0][0] - now, self._outage.sends_at - now), threading.TIMEOUT_MAX)

    def _admitted(self, record: Record | InvalidRecord) -> OpenInput | None:
        """Return the input of a record; None if it is not sent."""
        admission, task_id = self._ledger.admit(record)
        if admission is Admission.SEND and isinstance(record, Record):
            return OpenInput(record, task_id)
        self._tally.add(_COUNTED[admission])
        return None

    def _input(self, item: OpenInput) -> AnyInput:
        """Return the input to send: the upstream's task of it, if there is one."""
        if item.task_id:
            return Audio(task_id=item.task_id)
        value: Any = item.record.input
        # Keys of inputs have another limit; the position identifies the input.
        value = dataclasses.replace(value, key="") if value.key else value
        return value if self._prepare is None else self._prepare(value)
