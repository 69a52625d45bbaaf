"""Heartbeat of the main event loop, which other threads read."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

BEAT_SECONDS = 1.0


class Heartbeat:
    """Records when the event loop has run last."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the last beat. Thread-safe."""
        return time.monotonic() - self._last

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Beat at an interval while the block lasts."""
        beating = asyncio.create_task(self._keep_beating())
        try:
            yield
        finally:
            beating.cancel()

    async def _keep_beating(self) -> None:
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
