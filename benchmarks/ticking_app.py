"""The gateway with a clock on its event loop: SIGUSR1 makes it write the longest stall of the loop.

python -m benchmarks.ticking_app serve --upstream URL ...
"""

import asyncio
import signal
import sys
import time
from typing import Self

from benchmarks import entry
from embedwire_server.app import App

TICK_SECONDS = 0.001


class TickingApp(App):
    """The server, and the longest delay of a tick."""

    async def __aenter__(self) -> Self:
        """Start the clock after the server."""
        await super().__aenter__()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._report)
        self._longest, self._due = 0.0, time.perf_counter() + TICK_SECONDS
        loop.call_later(TICK_SECONDS, self._tick)
        self._report()  # ready for signals
        return self

    def _tick(self) -> None:
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._due)
        self._due = time.perf_counter() + TICK_SECONDS
        asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _report(self) -> None:
        sys.stderr.write(f"longest stall {self._longest * 1e3:.2f} ms\n")
        sys.stderr.flush()
        self._longest = 0.0


if __name__ == "__main__":
    entry.serve(TickingApp)
