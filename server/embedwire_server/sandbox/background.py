"""Work that would block the event loop, in threads."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TypeVar

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a thread and return what it returns.

    A thread cannot be stopped. If the caller is cancelled, this waits until the work is done before it passes that
    on, so that nobody closes a file that is being read.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def step_by_step(steps: Generator[_T, None, None]) -> AsyncGenerator[_T, None]:
    """Iterate over a generator whose every step blocks, each step in a thread."""
    try:
        while (step := await in_thread(lambda: next(steps, None))) is not None:
            yield step
    finally:
        steps.close()
