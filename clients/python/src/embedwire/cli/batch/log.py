"""Progress of a batch as JSON lines on stderr, for logs."""

import contextlib
import datetime as dt
import json
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from embedwire.batch import Progress

_LAST_LINE_SECONDS = 1.0  # then the reader of stderr does not read
_THREAD = "embedwire-batch-log"


class BatchLog:
    """Writer of a JSON line at the start, in each interval, when the batch stops early, and at the end.

    A line that cannot be written is dropped: the batch continues.

    Args:
        read: returns a snapshot of the progress; called in another thread.
        interval: seconds between lines.
    """

    def __init__(self, read: Callable[[], Progress], interval: float) -> None:
        self._read = read
        self._interval = interval
        self._is_stopping = False
        self._wake = threading.Event()
        self._is_ended = False
        self._thread = threading.Thread(target=self._write_lines, name=_THREAD, daemon=True)

    def stopping(self) -> None:
        """Write that the batch stops."""
        self._is_stopping = True
        self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_ended = True
        self._wake.set()
        self._thread.join(_LAST_LINE_SECONDS)

    def _write_lines(self) -> None:
        self._write("start")
        is_announced = False
        while not self._is_ended:
            self._wake.wait(self._interval)
            self._wake.clear()
            if self._is_stopping and not is_announced:
                is_announced = True
                self._write("stopping")
            elif not self._is_ended:
                self._write("progress")
        self._write("end")

    def _write(self, event: str) -> None:
        line = json.dumps({"event": event, "time": _now()} | _fields(self._read())) + "\n"
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            os.write(sys.stderr.fileno(), line.encode())  # no lock, at which the exit would wait for a reader


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(progress: Progress) -> dict[str, object]:
    return {
        "total": progress.total,
        "embedded": progress.embedded,
        "complete_before": progress.resumed,
        "failed": progress.failed,
        "duplicates": progress.duplicates,
        "retries": progress.retries,
        "segments": progress.segments,
        "running": progress.in_flight,
        "seconds": round(progress.seconds, 3),
        "per_second": round(progress.per_second, 3),
        "eta_seconds": None if progress.eta is None else round(progress.eta, 1),
        "outage": progress.reason,
        "next_attempt_seconds": round(progress.waiting, 1),
    }
