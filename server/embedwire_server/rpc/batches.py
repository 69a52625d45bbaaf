"""What gRPC does in batches is awaited to its end, or the memory of the batch is never given back.

gRPC's asyncio server frees a batch in the task that awaits it, once the await returns. If its caller has gone and the
batch fails, or its task is cancelled meanwhile, it does not return: some 300 bytes each time, for ever (grpc/grpc,
issue 43360).
"""

import asyncio
import contextlib
import contextvars
import functools
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


@types.coroutine
def finished(batch: Coroutine[Any, Any, Result]) -> Generator[Any, None, Result]:
    """Await a read, a write or an abort. Who is cancelled waits no longer, but the batch is finished all the same."""
    while True:
        try:
            future = batch.send(None)
        except StopIteration as end:
            result: Result = end.value
            return result
        try:
            yield _Wait(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda _: _finish(batch))
            raise
        except Exception:  # noqa: BLE001, S110 - it is the future's, and the batch raises it
            pass


def _finish(batch: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):  # also StopIteration; nobody waits for it any more
        batch.send(None)


@functools.cache  # never given back: gRPC holds it without a reference
def unfailing(loop: asyncio.AbstractEventLoop) -> "_Futures":
    """Build what stands in for the loop where gRPC makes the futures of its batches: they do not fail.

    A batch fails if its call has ended. Who reads finds the end of the stream then, and who writes is cancelled soon.
    """
    return _Futures(loop)


class _Futures:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def create_future(self) -> asyncio.Future[None]:
        return _Unfailing(loop=self._loop)

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call at once: gRPC takes it for the loop of another thread, but it is its own."""
        callback(*arguments)


class _Unfailing(asyncio.Future[None]):
    def set_exception(self, _: BaseException | type[BaseException]) -> None:
        self.set_result(None)


class _Wait:
    """What a task awaits in the place of a future: the same, but to cancel it does not cancel the future."""

    _asyncio_future_blocking = True  # so tasks know what they may await

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._future.get_loop()

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: contextvars.Context) -> None:
        self._wakeup, self._context = wakeup, context
        self._future.add_done_callback(wakeup, context=context)

    def cancel(self, msg: Any = None) -> bool:  # noqa: ANN401 - as asyncio has it
        if self._future.done():
            return False
        self._future.remove_done_callback(self._wakeup)
        cancelled = self.get_loop().create_future()
        cancelled.cancel(msg)
        self.get_loop().call_soon(self._wakeup, cancelled, context=self._context)
        return True
