"""Progress of a batch."""

import dataclasses
import threading
import time
from collections import Counter, deque

_WINDOW = 60  # seconds, of the recent rate


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Snapshot of the progress of a run.

    Attributes:
        total: number of entries of the source; None if it is not known.
        embedded: number of inputs that this run has embedded.
        resumed: number of inputs that an earlier run has embedded.
        failed: number of inputs that have failed, in this run or permanently in an earlier one.
        duplicates: number of entries with the key and the content of an earlier entry.
        retries: number of times that inputs were sent again.
        segments: number of vectors of the embedded inputs.
        in_flight: number of inputs that were sent and have not ended.
        seconds: duration of the run.
        per_second: embedded inputs per second in the last minute.
        eta: estimated seconds to the end; None if it is not known.
        waiting: seconds until the next attempt in an outage; 0 if there is none.
        reason: reason or code of the failures of an outage; empty if there is none.
    """

    total: int | None = None
    embedded: int = 0
    resumed: int = 0
    failed: int = 0
    duplicates: int = 0
    retries: int = 0
    segments: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    per_second: float = 0.0
    eta: float | None = None
    waiting: float = 0.0
    reason: str = ""


class Tally:
    """Counters of a run. Safe to share between threads."""

    def __init__(self) -> None:
        self.total: int | None = None
        self._counts: Counter[str] = Counter()
        self._began_at = self._ended_at = 0.0
        self._marks: deque[tuple[float, int]] = deque(maxlen=_WINDOW)  # time, inputs embedded until then
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start the clock."""
        self._began_at = time.monotonic()
        self._marks.append((self._began_at, 0))

    def end(self) -> None:
        """Stop the clock."""
        self._ended_at = time.monotonic()

    def add(self, name: str, count: int = 1) -> None:
        """Add to a counter, by the name of an attribute of `Progress`."""
        with self._lock:
            self._counts[name] += count
            now = time.monotonic()
            if name == "embedded" and now - self._marks[-1][0] >= 1:
                self._marks.append((now, self._counts["embedded"]))

    def snapshot(self, *, in_flight: int = 0, waiting: float = 0.0, reason: str = "") -> Progress:
        """Return the progress."""
        with self._lock:
            counts = dict(self._counts)
            since, before = self._marks[0] if self._marks else (0.0, 0)
        now = self._ended_at or time.monotonic()
        seconds = now - self._began_at if self._began_at else 0.0
        per_second = (counts.get("embedded", 0) - before) / max(now - since, 1e-9) if seconds else 0.0
        return Progress(
            total=self.total,
            in_flight=in_flight,
            waiting=waiting,
            reason=reason,
            seconds=seconds,
            per_second=per_second,
            eta=self._eta(counts, per_second),
            **counts,
        )

    def _eta(self, counts: dict[str, int], per_second: float) -> float | None:
        if self.total is None:
            return None
        ended = sum(counts.get(name, 0) for name in ("embedded", "resumed", "failed", "duplicates"))
        left = max(0, self.total - ended)
        if left and not per_second:
            return None
        return left / per_second if left else 0.0
