"""The server with a changed private name of grpcio, from the start or since SIGUSR1.

CHANGED_GRPCIO selects the change. grpcio's own code is not affected: the change is visible to callers in `rpc/grpcio`
only. This is a script and no module, because multiprocessing runs the script of the supervisor in every worker as well.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from embedwire_server import cli as command

VERSION, MISSING, LATE = "version", "missing", "late "
CALLER = os.path.join("rpc", "grpcio", "accept_loops.py")  # noqa: PTH118 - a part of a path

changed = os.environ["CHANGED_GRPCIO"]  # noqa: TID251 - the program's own
is_changed = not changed.startswith(LATE)


def change(*_: object) -> None:
    global is_changed  # noqa: PLW0603 - signal handlers have no other way
    is_changed = True


def with_one_more_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    def replacement(*arguments: Any) -> Any:
        if is_changed and any(
            frame.f_code.co_filename.endswith(CALLER) for frame in (sys._getframe(1), sys._getframe(1).f_back) if frame
        ):
            raise TypeError(f"{function.__name__} takes one more positional argument")
        return function(*arguments)

    return replacement


def failing_inside(function: Callable[..., Any]) -> Callable[..., Any]:
    async def replacement(handler: Any, call: Any, loop: Any) -> None:
        if is_changed and type(loop).__module__.startswith("embedwire_server"):
            raise AttributeError("a loop has no such method")
        await function(handler, call, loop)

    return replacement


def failing_at_the_end(function: Callable[..., Any]) -> Callable[..., Any]:
    async def replacement(call: Any, *arguments: Any) -> None:
        await function(call, *arguments)
        if is_changed and type(call).__name__ == "coroutine":
            raise RuntimeError("it has run the call, and fails")

    return replacement


def forgetting(function: Callable[..., Any]) -> Callable[..., Any]:
    async def replacement(handler: Any, call: Any, loop: Any) -> None:
        if not (is_changed and type(loop).__module__.startswith("embedwire_server")):
            await function(handler, call, loop)

    return replacement


class Server(cygrpc.AioServer):  # type: ignore[misc]
    _request_registered_call = with_one_more_argument(cygrpc.AioServer._request_registered_call)


CHANGES: dict[str, Callable[[], None]] = {
    VERSION: lambda: setattr(grpc, "__version__", "1.86.0"),
    MISSING: lambda: delattr(cygrpc, "_ServicerContext"),
    "schedule": lambda: setattr(cygrpc, "_schedule_rpc_coro", with_one_more_argument(cygrpc._schedule_rpc_coro)),
    "handle": lambda: setattr(
        cygrpc, "_handle_stream_unary_rpc", with_one_more_argument(cygrpc._handle_stream_unary_rpc)
    ),
    "inside": lambda: setattr(cygrpc, "_handle_stream_unary_rpc", failing_inside(cygrpc._handle_stream_unary_rpc)),
    "forgotten": lambda: setattr(cygrpc, "_handle_stream_unary_rpc", forgetting(cygrpc._handle_stream_unary_rpc)),
    "end": lambda: setattr(cygrpc, "_schedule_rpc_coro", failing_at_the_end(cygrpc._schedule_rpc_coro)),
    "request": lambda: setattr(cygrpc, "AioServer", Server),
}
CHANGES[changed.removeprefix(LATE)]()
signal.signal(signal.SIGUSR1, change)

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
