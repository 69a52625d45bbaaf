"""Signals that stop a batch: the first one saves what runs, the second one ends the process."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SHOW_CURSOR = b"\x1b[?25h"  # rich hides it
_ENDED = b"\nended; what was saved is safe: the same command again resumes\n"


class StopSignals:
    """Handlers of SIGINT, SIGTERM and SIGHUP while a batch runs.

    Args:
        stop: called at the first signal, in the main thread. It must not block.

    Attributes:
        exit_code: 128 plus the number of the signal; 0 without one.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.exit_code = 0
        self._stop = stop
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.exit_code:
            _end(128 + number)
        self.exit_code = 128 + number
        self._stop()


def _end(code: int) -> None:
    """End the process without waiting for threads. The ledger has all that was saved, as after SIGKILL."""
    is_terminal = sys.stderr.isatty()
    try:
        os.write(sys.stderr.fileno(), (_SHOW_CURSOR if is_terminal else b"") + _ENDED)
    finally:
        os._exit(code)
