"""End a call of a single response with its status alone, after its message has been written.

gRPC sends the message that such a handler returns together with the status. It does not check whether the handler has
written its message before. Its function that ends the handler of a stream sends the status only, and takes the state of
any call, which the context refers to.
"""

import asyncio
import gc
from typing import Any

from embedwire_server.rpc.grpcio.batch_leak import operation_futures
from embedwire_server.rpc.handlers import Context


class StatusDue(Exception):
    """The message has been written. Raised within the deadline of a call, so that its status is sent outside of it."""


async def send(context: Context) -> None:
    """Send the status OK, with the trailers that have been set.

    Raises:
        CancelledError: always. It is the only exception of a handler after which gRPC sends nothing more.
    """
    from grpc._cython import cygrpc  # type: ignore[attr-defined] # noqa: PLC0415 - only if it is used

    module: Any = cygrpc
    (state,) = (one for one in gc.get_referents(context) if isinstance(one, module.RPCState))
    futures = operation_futures(asyncio.get_running_loop())
    await module._finish_handler_with_stream_responses(state, _written, None, context, futures)  # noqa: SLF001
    raise asyncio.CancelledError


async def _written(_: object, __: Context) -> None:
    """Write no further message."""
