"""Many streams as one: whatever is ready comes first, at most so many run at once."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import TypeVar

from embedwire_server.failures import is_cancelled

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class _End:
    """A worker has nothing more, because of the failure if there is one."""

    failure: BaseException | None = None


def merge(streams: Sequence[AsyncGenerator[T]], at_once: int) -> AsyncGenerator[T]:
    """Yield the items of all streams as they come; items of one stream keep their order.

    Streams start in their order, at most `at_once` at a time. A consumer that is slow slows them
    all down: at most `at_once` items wait, and one more in the hands of each running stream. The
    first failure ends the whole. However it ends, every started stream has been closed before the
    generator is (only a second cancellation does not wait for that).
    """
    return streams[0] if len(streams) == 1 else _merged(streams, at_once)  # the most common case costs nothing


async def _merged(streams: Sequence[AsyncGenerator[T]], at_once: int) -> AsyncGenerator[T]:
    ready: asyncio.Queue[T | _End] = asyncio.Queue(at_once)
    waiting = iter(streams)
    workers = [asyncio.create_task(_work(waiting, ready)) for _ in range(min(at_once, len(streams)))]
    try:
        running = len(workers)
        while running:
            next_one = await ready.get()
            if not isinstance(next_one, _End):
                yield next_one
            elif next_one.failure is not None:
                raise next_one.failure
            else:
                running -= 1
    finally:
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)  # not gather: being cancelled here must not cut their cleanup short


async def _work(waiting: Iterator[AsyncGenerator[T]], ready: asyncio.Queue[T | _End]) -> None:
    """Drain one stream after the other, until none is waiting."""
    try:
        for stream in waiting:
            items = stream
            try:
                async for item in items:
                    await ready.put(item)
            finally:
                await items.aclose()
    except (Exception, asyncio.CancelledError) as failure:  # it is raised where the items are read
        if is_cancelled():
            raise
        await ready.put(_End(failure))
    else:
        await ready.put(_End())
