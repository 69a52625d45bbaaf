"""Self-check of the private API before the first call is accepted: a changed signature then fails no call."""

from typing import Any

import grpc

from embedwire_server.rpc import handlers
from embedwire_server.rpc.grpcio import last_message, status_alone
from embedwire_server.rpc.grpcio.accept_loops import AcceptLoops
from embedwire_server.rpc.grpcio.batch_leak import complete_operation
from embedwire_server.rpc.handlers import Context

_PATH = "/embedwire.SelfCheck/Echo"
_CALLS = 3  # gRPC's own loop accepts the first one
_SECONDS = 10.0
_ALONE = b"alone"  # asks for the status after the last message
_NO_PROXY = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


class NotAsTested(Exception):
    """The private API does not work as tested."""


async def run() -> None:
    """Make some calls over loopback to a temporary server, which runs them as the real one does.

    Raises:
        Exception: it does not work as tested. The exception is that of the private API if there is one.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = last_message.with_status(handlers.made(_echo, request_streaming=True, response_streaming=True))
    _, service, method = _PATH.split("/")
    server.add_registered_method_handlers(service, {method: handler})
    faults: list[Exception] = []
    loops = AcceptLoops(server, {_PATH: (handler, 1)}, _refused, lambda _, error: faults.append(error))
    port = server.add_insecure_port("127.0.0.1:0")
    try:
        await server.start()
        loops.open()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", _NO_PROXY) as channel:
            replies = [await _call(channel, b"echo") for _ in range(_CALLS)] + [await _call(channel, _ALONE)]
    except grpc.aio.AioRpcError:
        if not faults:
            raise
    finally:
        await server.stop(_SECONDS)
    if faults:
        raise faults[0]
    if not loops.accepted or replies != [[b"echo", b"echo"]] * _CALLS + [[_ALONE, _ALONE]]:
        raise NotAsTested


async def _echo(_: object, context: Context) -> bytes:
    message = await complete_operation(context.read())
    await complete_operation(context.write(message))
    if message == _ALONE:
        await complete_operation(context.write(message))
        await status_alone.send(context)
    return bytes(message)


async def _call(channel: grpc.aio.Channel, request: bytes) -> list[bytes]:
    echo: Any = channel.stream_stream(_PATH)
    return [message async for message in echo(iter([request]), timeout=_SECONDS)]


async def _refused(_: str, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE)
