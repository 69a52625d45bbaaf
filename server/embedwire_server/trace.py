"""Where the time of one input goes."""

import dataclasses
import time
from typing import Literal

from embedwire_server.causes import Cause

Phase = Literal["queue", "upload", "waiting", "decode", "parked"]


@dataclasses.dataclass(slots=True)
class Trace:
    """What one input has cost so far, in seconds. The layers below write it, the gateway reports it."""

    attempts: int = 0
    upstream: str = ""
    stuck: Cause | None = None  # what an attempt waited for when it was given up
    hold: float = 0.0  # how long the last reply asks the next request to wait
    queue: float = 0.0
    upload: float = 0.0
    waiting: float = 0.0
    decode: float = 0.0
    parked: float = 0.0  # waiting for the caller to take what is ready

    def time(self, phase: Phase) -> "_Timed":
        """Add the time that the block takes, however it ends, to one phase."""
        return _Timed(self, phase)


class _Timed:
    """A block that is timed. A class, since a generator costs three times as much, and every input has a dozen."""

    __slots__ = ("_phase", "_started", "_trace")

    def __init__(self, trace: Trace, phase: Phase) -> None:
        self._trace = trace
        self._phase = phase
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        trace, phase = self._trace, self._phase
        setattr(trace, phase, getattr(trace, phase) + time.perf_counter() - self._started)
