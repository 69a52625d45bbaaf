"""grpc.reflection: the contract for tools such as grpcurl, in both versions that they ask for."""

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio

DESCRIPTOR = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
V1ALPHA = DESCRIPTOR.full_name
# Its messages are those of v1alpha under another name; newer tools ask for v1 only.
V1 = "grpc.reflection.v1.ServerReflection"
SERVICES = (V1ALPHA, V1)

add_to_server = reflection_pb2_grpc.add_ServerReflectionServicer_to_server


def servicer(services: tuple[str, ...]) -> object:
    """Tells of these services and of itself."""
    return aio.ReflectionServicer((*services, *SERVICES), _Symbols())


class _Symbols:
    """All that protobuf knows, methods too: its own search leaves them out, and `grpcurl describe` wants them."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the other searches, as they are
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name for it
        """The file that declares it.

        Raises:
            KeyError: none does.
        """
        try:
            found: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            found = self._pool.FindMethodByName(symbol).containing_service.file
        return found
