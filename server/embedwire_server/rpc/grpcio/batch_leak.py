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
_Wakeup = Callable[[Any], object]  # a task's callback, which a future calls


@types.coroutine
def complete_operation(operation: Coroutine[Any, Any, Result]) -> Generator[Any, None, Result]:
    """Await a read, a write or an abort. On cancellation return immediately; the operation completes later."""
    while True:
        try:
            awaited = operation.send(None)
        except StopIteration as end:
            result: Result = end.value
            return result
        if not isinstance(awaited, asyncio.Future):  # one iteration of the event loop, which nothing cancels
            yield awaited
            continue
        try:
            yield awaited if isinstance(awaited, _OperationFuture) else _Wait(awaited)
        except asyncio.CancelledError:
            awaited.add_done_callback(lambda _: _complete(operation))
            raise
        except Exception:  # noqa: BLE001, S110 - it is the future's, and the operation raises it
            pass


def _complete(operation: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):  # also StopIteration; no task waits for it
        operation.send(None)


@functools.cache  # never freed: gRPC holds it without a reference
def operation_futures(loop: asyncio.AbstractEventLoop) -> "_OperationFutures":
    """Build the replacement for the event loop from which gRPC gets the futures of its operations."""
    return _OperationFutures(loop)


class _OperationFutures:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def create_future(self) -> asyncio.Future[None]:
        return _OperationFuture(loop=self._loop)

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call immediately: gRPC assumes the loop of another thread, but is in its own."""
        callback(*arguments)


class _OperationFuture(asyncio.Future[None]):
    """The future of one operation. It does not fail, and cancelling it ends the wait but not the operation.

    An operation fails if its call has ended. A read then finds the end of the stream, and a write is followed by the
    cancellation of the call. gRPC may complete an operation after the event loop has been closed: no task waits for it.
    """

    __slots__ = ()

    def set_result(self, result: None) -> None:
        if not self.get_loop().is_closed():
            super().set_result(result)

    def set_exception(self, _: BaseException | type[BaseException]) -> None:
        self.set_result(None)

    def cancel(self, msg: Any = None) -> bool:  # noqa: ANN401 - as asyncio has it
        waiting = None if self.done() else self._callbacks  # none after the first cancellation, which wakes the task
        for wakeup, context in waiting or ():
            self.remove_done_callback(wakeup)
            _wake_cancelled(self.get_loop(), wakeup, context, msg)
        return bool(waiting)


class _Wait:
    """Awaitable in place of a future of the event loop. Cancelling it does not cancel the future."""

    _asyncio_future_blocking = True  # tasks accept only awaitables with this attribute

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self._is_cancelled = False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._future.get_loop()

    def add_done_callback(self, wakeup: _Wakeup, *, context: contextvars.Context) -> None:
        self._wakeup, self._context = wakeup, context
        self._future.add_done_callback(wakeup, context=context)

    def cancel(self, msg: Any = None) -> bool:  # noqa: ANN401 - as asyncio has it
        if self._is_cancelled or self._future.done():  # as with a future, the first cancellation wakes the task
            return False
        self._is_cancelled = True
        self._future.remove_done_callback(self._wakeup)
        _wake_cancelled(self.get_loop(), self._wakeup, self._context, msg)
        return True


def _wake_cancelled(
    loop: asyncio.AbstractEventLoop,
    wakeup: _Wakeup,
    context: contextvars.Context,
    msg: Any,  # noqa: ANN401
) -> None:
    cancelled = loop.create_future()
    cancelled.cancel(msg)
    loop.call_soon(wakeup, cancelled, context=context)
