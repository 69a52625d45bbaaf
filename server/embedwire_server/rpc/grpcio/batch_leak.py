"""Work around a leak of grpcio: an operation whose await is cancelled, or that fails, never frees its batch.

gRPC's asyncio server frees the memory of an operation in the task that awaits it, once the await returns. If the task
is cancelled, or the operation fails because its call has ended, the await raises, and some 100 to 300 bytes are never
freed (grpc/grpc issue 43360).
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
def complete_operation(operation: Coroutine[Any, Any, Result]) -> Generator[Any, None, Result]:
    """Await a read, a write or an abort. On cancellation the caller returns at once; the operation completes later."""
    while True:
        try:
            awaited = operation.send(None)
        except StopIteration as end:
            result: Result = end.value
            return result
        if not isinstance(awaited, asyncio.Future):  # a turn of the event loop, which nothing cancels
            yield awaited
            continue
        try:
            yield _Wait(awaited)
        except asyncio.CancelledError:
            awaited.add_done_callback(lambda _: _complete(operation))
            raise
        except Exception:  # noqa: BLE001, S110 - it is the future's, and the operation raises it
            pass


def _complete(operation: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):  # also StopIteration; no task waits for it
        operation.send(None)


@functools.cache  # never freed: gRPC holds it without a reference
def non_failing_futures(loop: asyncio.AbstractEventLoop) -> "_Futures":
    """Build the replacement for the event loop from which gRPC gets the futures of its operations: they do not fail.

    An operation fails if its call has ended. A read then finds the end of the stream, and a write is followed by the
    cancellation of the call.
    """
    return _Futures(loop)


class _Futures:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def create_future(self) -> asyncio.Future[None]:
        return _NonFailing(loop=self._loop)

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call at once: gRPC takes it for the loop of another thread, but it is its own."""
        callback(*arguments)


class _NonFailing(asyncio.Future[None]):
    def set_exception(self, _: BaseException | type[BaseException]) -> None:
        self.set_result(None)


class _Wait:
    """What a task awaits in place of a future. Cancelling it does not cancel the future."""

    _asyncio_future_blocking = True  # how tasks recognize what they may await

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self._is_cancelled = False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._future.get_loop()

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: contextvars.Context) -> None:
        self._wakeup, self._context = wakeup, context
        self._future.add_done_callback(wakeup, context=context)

    def cancel(self, msg: Any = None) -> bool:  # noqa: ANN401 - as asyncio has it
        if self._is_cancelled or self._future.done():  # as with a future, the first cancellation wakes the task
            return False
        self._is_cancelled = True
        self._future.remove_done_callback(self._wakeup)
        cancelled = self.get_loop().create_future()
        cancelled.cancel(msg)
        self.get_loop().call_soon(self._wakeup, cancelled, context=self._context)
        return True
