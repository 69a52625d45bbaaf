"""Work that would block the event loop, in threads of the sandbox's own.

The event loop's default threads serve the gateway as well, so that a long decoding must not occupy them.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class StoppedError(Exception):
    """The call is gone; what it asked for is not needed any more."""


class Stop:
    """Asks a thread to stop. The thread calls `check` between two pieces of its work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask."""
        self._event.set()

    def check(self) -> None:
        """Do nothing, until it was asked.

        Raises:
            StoppedError: It was asked.
        """
        if self._event.is_set():
            raise StoppedError


class Threads:
    """A few threads.

    Args:
        count: How many; further work waits for its turn.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="sandbox")

    def close(self) -> None:
        """Wait for the work that runs, and end. Work that waits for its turn is cancelled."""
        self._pool.shutdown(cancel_futures=True)

    async def run(self, work: Callable[[], _T], stop: Stop | None = None) -> _T:
        """Run blocking work in a thread and return what it returns.

        If the caller is cancelled, the work is asked to stop, and this waits until it has ended before it passes the
        cancellation on: the caller then closes the files that the work reads. Work that has not begun never does.
        """
        job = self._pool.submit(work)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if stop is not None:
                stop.set()
            if not job.cancel():
                await asyncio.wait([future])
            raise

    async def step_by_step(self, steps: Generator[_T, None, None], stop: Stop) -> AsyncGenerator[_T, None]:
        """Iterate over a generator whose every step blocks, each step in a thread."""
        try:
            while (step := await self.run(lambda: next(steps, None), stop)) is not None:
                yield step
        finally:
            steps.close()
