"""Blocking iterators for asyncio."""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any, TypeVar

_END: Any = object()
T = TypeVar("T")


async def in_thread(iterator: Iterator[T]) -> AsyncGenerator[T]:
    """Yield the items of an iterator that may block. A separate thread advances it, one item on request.

    If this generator is closed while the iterator blocks, it does not wait: the thread is a daemon, and closes the
    iterator when that returns. The default executor is not used, since asyncio waits for it at the end of the loop.
    """
    loop = asyncio.get_running_loop()
    requests: queue.SimpleQueue[asyncio.Future[T] | None] = queue.SimpleQueue()

    def advance() -> None:
        while (future := requests.get()) is not None:
            item, error = _END, None
            try:
                item = next(iterator, _END)
            except BaseException as raised:  # noqa: BLE001 - it is raised by the generator
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed in the meantime
                loop.call_soon_threadsafe(_resolve, future, item, error)
        close(iterator)

    threading.Thread(target=contextvars.copy_context().run, args=(advance,), daemon=True).start()
    try:
        while True:
            requests.put(future := loop.create_future())
            if (item := await future) is _END:
                return
            yield item
    finally:
        requests.put(None)


def close(iterator: object) -> None:
    """Close a generator, or another iterator that has `close`."""
    with contextlib.suppress(Exception):  # there is no caller that could handle it
        getattr(iterator, "close", lambda: None)()


def _resolve(future: asyncio.Future[Any], item: Any, error: BaseException | None) -> None:  # noqa: ANN401 - any item
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(item)
    else:
        future.set_exception(error)
