"""gRPC server reflection, v1 and v1alpha, for tools such as grpcurl.

It needs no token, so its streams are limited in number, messages, bytes and time.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from embedwire_server.core.errors import CallStalled, Overloaded
from embedwire_server.rpc import handlers
from embedwire_server.rpc.handlers import Handler
from embedwire_server.rpc.stream_limit import StreamLimit

DESCRIPTOR = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
V1ALPHA = DESCRIPTOR.full_name
# Its messages are those of v1alpha under another name; newer tools ask for v1 only.
V1 = "grpc.reflection.v1.ServerReflection"
SERVICES = (V1ALPHA, V1)
MAX_STREAMS = 100
MAX_STREAMS_OF_A_CONNECTION = 10
MAX_MESSAGES = 1_000
MAX_REQUEST_BYTES = 1 << 20
MAX_REPLY_BYTES = 32 << 20


def handlers_for(services: tuple[str, ...], idle_timeout: float) -> dict[str, Handler]:
    """Make the handlers that describe these services and reflection itself.

    A stream without a request for `idle_timeout` seconds is aborted.
    """
    servicer = _BoundedServicer((*services, *SERVICES), _Symbols(), idle_timeout)
    return handlers.of_service(servicer, DESCRIPTOR) | handlers.of_service(servicer, DESCRIPTOR, V1)


class _BoundedServicer(aio.ReflectionServicer):  # type: ignore[misc] # it ships no types
    """The servicer of grpcio-reflection, with limits on its streams, which it does not have itself."""

    def __init__(self, services: tuple[str, ...], pool: object, idle_timeout: float) -> None:
        super().__init__(services, pool)
        self._idle_timeout = idle_timeout
        self._streams = StreamLimit("reflection streams", MAX_STREAMS, MAX_STREAMS_OF_A_CONNECTION)

    async def ServerReflectionInfo(  # noqa: N802
        self,
        request_iterator: AsyncIterator[reflection_pb2.ServerReflectionRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Answer each request, within the limits of a stream."""
        size = 0
        requests = _bounded(request_iterator, self._idle_timeout)
        answers = super().ServerReflectionInfo(requests, context)
        with self._streams.held(context.peer()):
            async with contextlib.aclosing(requests), contextlib.aclosing(answers):
                async for answer in answers:
                    size += answer.ByteSize()
                    if size > MAX_REPLY_BYTES:
                        raise _too_much(f"{MAX_REPLY_BYTES} bytes of answers")
                    await context.write(answer)


async def _bounded(
    requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], idle_timeout: float
) -> AsyncGenerator[reflection_pb2.ServerReflectionRequest]:
    size = 0
    for _ in range(MAX_MESSAGES):
        try:
            async with asyncio.timeout(idle_timeout):
                request = await anext(requests, None)
        except TimeoutError:
            raise CallStalled("message", idle_timeout) from None
        if request is None:
            return
        size += request.ByteSize()
        if size > MAX_REQUEST_BYTES:
            raise _too_much(f"{MAX_REQUEST_BYTES} bytes of requests")
        yield request
    raise _too_much(f"{MAX_MESSAGES} messages")


def _too_much(limit: str) -> Overloaded:
    return Overloaded(f"a reflection stream may have {limit}; open a new one", retry_delay=0.0)


class _Symbols:
    """Descriptor pool whose symbol search also finds methods, as `grpcurl describe` needs; protobuf leaves them out."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the other searches, as they are
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name for it
        """Return the file that declares a symbol.

        Raises:
            KeyError: no file declares it.
        """
        try:
            found: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            found = self._pool.FindMethodByName(symbol).containing_service.file
        return found
