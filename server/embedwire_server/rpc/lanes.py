"""Several calls are taken in at a time.

gRPC's asyncio server asks its core for one call of a method, and for the next one only rounds of the event
loop later. Under load a round takes milliseconds, and calls pile up at the door while there is work for all: with 64
calls of 200 ms under way, a call waited 60 ms to be taken in, on 2 cores. There is no public way to ask for
more at once; what is used here is private to grpcio, and where it is missing the server does without.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import structlog
from grpc._cython import cygrpc  # type: ignore[attr-defined] # it is typed as if it had none

from embedwire_server.rpc import batches

LANES = 8
_NEEDED = ("_RequestCallError", "_handle_stream_stream_rpc", "_handle_stream_unary_rpc", "_schedule_rpc_coro")

log = structlog.get_logger(__name__)


class Lanes:
    """Takes calls in beside the server's own loop, and spares them its search for the handler.

    Args:
        server: not started yet.
        handlers: by the path of their method, registered with the server; each reads its messages itself.
    """

    def __init__(self, server: grpc.aio.Server, handlers: Mapping[str, Any]) -> None:
        self._core: Any = getattr(server, "_server", None)
        self._handlers = dict(handlers)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Take calls in from now on, until the server is stopped."""
        if not hasattr(self._core, "_request_registered_call") or not all(hasattr(cygrpc, name) for name in _NEEDED):
            log.warning("this grpcio takes calls in one by one only")
            return
        for method, handler in self._handlers.items():
            run = cygrpc._handle_stream_stream_rpc if handler.response_streaming else cygrpc._handle_stream_unary_rpc  # noqa: SLF001
            for _ in range(LANES):
                self._keep(self._lane(method, functools.partial(run, handler)))

    async def _lane(self, method: str, run: Callable[..., Any]) -> None:
        """Take one call in, open the lane again, and run the call."""
        if not self._core.is_running():
            return
        try:
            state = await self._core._request_registered_call(method.encode())  # noqa: SLF001
        except cygrpc._RequestCallError:  # noqa: SLF001 - the server is being stopped
            return
        self._keep(self._lane(method, run))
        loop = asyncio.get_running_loop()
        await cygrpc._schedule_rpc_coro(run(state, batches.unfailing(loop)), state, loop, method)  # noqa: SLF001

    def _keep(self, coroutine: Any) -> None:  # noqa: ANN401 - as it comes
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # a loop alone forgets what it runs
        task.add_done_callback(self._tasks.discard)
