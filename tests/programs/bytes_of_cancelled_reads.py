"""A bare grpc.aio server that prints how many bytes of the C heap a call leaks.

The argument selects how the read of a call ends: `completed`, `cancelled`, or `worked_around` (cancelled, with the
workaround of the server). It counts bytes in use, so neither the allocator's reserve nor time matters.
"""

import asyncio
import contextlib
import ctypes
import gc
import sys
from collections.abc import Awaitable
from typing import Any

import grpc

from embedwire_server.rpc.grpcio.batch_leak import complete_operation

WARM_UP, CALLS = 200, 500


class Mallinfo(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


def in_use() -> int:
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


async def cancelled(operation: Awaitable[Any]) -> None:
    """Start to await it, and cancel."""

    async def wait() -> None:
        await operation

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def answer(_: object, context: Any) -> bytes:
    if sys.argv[1] == "completed":
        await context.read()
    elif sys.argv[1] == "cancelled":
        await cancelled(context.read())
    else:
        await cancelled(complete_operation(context.read()))
    return b""


async def main() -> None:
    server = grpc.aio.server()
    server.add_registered_method_handlers("Leak", {"Read": grpc.stream_unary_rpc_method_handler(answer)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        read: Any = channel.stream_unary("/Leak/Read")
        for _ in range(WARM_UP):
            await read(iter([b"x"]))
        before = in_use()
        for _ in range(CALLS):
            await read(iter([b"x"]))
        print((in_use() - before) // CALLS)  # noqa: T201 - the output of the command
    await server.stop(None)


asyncio.run(main())
