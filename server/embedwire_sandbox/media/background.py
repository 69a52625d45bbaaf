"""Thread pool for blocking work, with cooperative cancellation.

The event loop's default thread pool also serves the gateway: long decoding must not occupy it.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class StoppedError(Exception):
    """The call was cancelled; its result is not needed any more."""


class Stop:
    """Stop request for a thread, which calls `check` between two pieces of its work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Request the stop."""
        self._event.set()

    def check(self) -> None:
        """Raise an exception if a stop was requested.

        Raises:
            StoppedError: A stop was requested.
        """
        if self._event.is_set():
            raise StoppedError


def _retrieve(future: "asyncio.Future[_T]") -> None:
    """Mark an exception as retrieved: asyncio would log that of work whose caller was cancelled."""
    if not future.cancelled():
        future.exception()


class Threads:
    """Thread pool.

    Args:
        count: Number of threads; further work is queued.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="sandbox")

    def close(self) -> None:
        """Cancel queued work, and wait for the work that runs."""
        self._pool.shutdown(cancel_futures=True)

    async def run(self, work: Callable[[], _T], stop: Stop | None = None) -> _T:
        """Run blocking work in a thread and return what it returns.

        If the caller is cancelled, the work is asked to stop, and the cancellation is raised only once it has ended,
        since the caller then closes the files that the work reads. Queued work is cancelled.
        """
        job = self._pool.submit(work)
        future = asyncio.wrap_future(job)
        future.add_done_callback(_retrieve)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if stop is not None:
                stop.set()
            if not job.cancel():
                await asyncio.wait([future])
            raise

    async def step_by_step(self, steps: Generator[_T, None, None], stop: Stop) -> AsyncGenerator[_T, None]:
        """Iterate over a blocking generator, each step in a thread."""
        try:
            while (step := await self.run(lambda: next(steps, None), stop)) is not None:
                yield step
        finally:
            steps.close()
