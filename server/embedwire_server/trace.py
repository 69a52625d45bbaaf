"""Where the time of one input goes."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Literal


@dataclasses.dataclass(slots=True)
class Trace:
    """What one input has cost so far, in seconds. The layers below write it, the gateway reports it."""

    attempts: int = 0
    upstream: str = ""
    hold: float = 0.0  # how long the last reply asks the next request to wait
    queue: float = 0.0
    upload: float = 0.0
    waiting: float = 0.0
    decode: float = 0.0
    parked: float = 0.0  # waiting for the caller to take what is ready

    @contextlib.contextmanager
    def time(self, phase: Literal["queue", "upload", "waiting", "decode", "parked"]) -> Iterator[None]:
        """Add the time that the block takes, however it ends, to one phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, phase, getattr(self, phase) + time.perf_counter() - started)
