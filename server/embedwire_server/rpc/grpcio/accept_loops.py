"""Accept loops: several pending accept operations for each method.

gRPC's asyncio server has one for each method, and starts the next one some iterations of the event loop later. Under
load an iteration takes milliseconds, and calls wait to be accepted although the server could run them.

An accept operation cannot be cancelled: the call that it receives must be run or rejected by the code that started it.
"""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import grpc
import structlog

from embedwire_server.observability.exception_logging import describe
from embedwire_server.rpc.grpcio.batch_leak import operation_futures

# Set by the outermost handler: an exception before that does not come from our code.
handler_entered: contextvars.ContextVar[bool] = contextvars.ContextVar("embedwire_handler_entered", default=False)

log = structlog.get_logger(__name__)


class AcceptLoops:
    """Accepts calls beside the server's own loop, and runs them without its look-up of the handler.

    Args:
        server: the handlers are registered with it.
        handlers: by method path, each with its number of loops. All have one response (stream_unary).
        refuse: called with the method and the context to reject a call that cannot be run, so that its caller retries.
        failed: called once with the method and the exception, when a loop raises; all loops are closed then.

    Raises:
        AttributeError, ImportError: this grpcio lacks one of the private names.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        handlers: Mapping[str, tuple[Any, int]],
        refuse: Callable[[str, Any], Awaitable[object]],
        failed: Callable[[str, Exception], object],
    ) -> None:
        from grpc._cython import cygrpc  # type: ignore[attr-defined] # noqa: PLC0415 - only if it is used

        self._core: Any = server._server  # type: ignore[attr-defined] # noqa: SLF001
        self._accept: Any = self._core._request_registered_call  # noqa: SLF001
        self._run: Any = cygrpc._handle_stream_unary_rpc  # noqa: SLF001
        self._schedule: Any = cygrpc._schedule_rpc_coro  # noqa: SLF001
        self._context: Any = cygrpc._ServicerContext  # noqa: SLF001
        self._server_stopped: type[Exception] = cygrpc._RequestCallError  # noqa: SLF001
        self._handlers = dict(handlers)
        self._refuse = refuse
        self._failed = failed
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0

    def open(self) -> None:
        """Start the loops of a started server; they end when it is stopped."""
        for method, (handler, number) in self._handlers.items():
            for _ in range(number):
                self._start(self._loop(method, handler))

    async def _loop(self, method: str, handler: Any) -> None:  # noqa: ANN401 - a handler of grpcio
        """Accept one call, continue in another task, and run the call."""
        try:
            if self._is_closed or not self._core.is_running():
                return
            call = await self._accept(method.encode())
        except self._server_stopped:
            return
        except Exception as error:  # noqa: BLE001 - any means that grpcio does not work as tested
            self._close(method, error)
            return
        self.accepted += 1
        self._start(self._loop(method, handler))
        await self._serve(method, handler, call)

    async def _serve(self, method: str, handler: Any, call: Any) -> None:  # noqa: ANN401 - grpcio's own types
        loop = asyncio.get_running_loop()
        run = functools.partial(self._run, handler, call, operation_futures(loop))
        running = self._running(method, run, call)
        try:
            await self._schedule(running, call, loop, method)
        except Exception as error:  # noqa: BLE001 - any means that grpcio does not work as tested
            self._close(method, error)
            if inspect.getcoroutinestate(running) == inspect.CORO_CREATED:  # else the call runs, in a task of its own
                running.close()
                await self._end(method, call)

    async def _running(self, method: str, run: Callable[[], Awaitable[object]], call: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Run the handler. An exception before it is entered is a failure of this module, not of the handler."""
        try:
            await run()
        except Exception as error:
            if handler_entered.get():
                raise
            self._close(method, error)
            await self._refused(method, call)

    async def _end(self, method: str, call: Any) -> None:  # noqa: ANN401 - grpcio's own
        try:
            await self._refused(method, call)
        except Exception as error:  # noqa: BLE001 - an AbortError if all is well
            if not isinstance(error, grpc.aio.AbortError):
                log.error(  # noqa: TRY400 - no texts
                    "a call could not be rejected with a status and ends with CANCELLED",
                    method=method,
                    **describe(error),
                )

    async def _refused(self, method: str, call: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Reject the call, which raises AbortError."""
        await self._refuse(method, self._context(call, None, None, asyncio.get_running_loop()))

    def _close(self, method: str, error: Exception) -> None:
        if not self._is_closed and self._core.is_running():  # else the server is stopping
            self._is_closed = True
            self._failed(method, error)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # an event loop keeps weak references only
        task.add_done_callback(self._tasks.discard)
