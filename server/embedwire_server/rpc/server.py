"""The gRPC server: services, interceptors in their order, options."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection

from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.metrics import Metrics
from embedwire_server.rpc.calls import DefaultDeadlines
from embedwire_server.rpc.health import SERVICE, HealthServicer
from embedwire_server.rpc.interceptors import Observe, Translate
from embedwire_server.rpc.servicer import EmbeddingServicer

MAX_PENDING_CALLS = 100_000
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
# The messages of v1 are those of v1alpha under another name; newer tools ask for v1 only.
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


def build(  # noqa: PLR0913 - the parts of a server
    servicer: EmbeddingServicer,
    health: HealthServicer,
    metrics: Metrics,
    upstream: str,
    *,
    max_message_bytes: int,
    deadlines: DefaultDeadlines,
) -> grpc.aio.Server:
    """Put the server together; the caller adds a port and starts it.

    Args:
        servicer: the service itself.
        health: grpc.health.v1.
        metrics: told of every call.
        upstream: name of the configured upstream, for the trailers.
        max_message_bytes: larger requests are refused by gRPC itself with RESOURCE_EXHAUSTED.
        deadlines: for callers who set none.
    """
    server = grpc.aio.server(
        interceptors=(Observe(metrics, upstream, deadlines), Translate()),
        options=(
            # Without it a second server binds the same port silently and takes half of the connections.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_message_bytes),
            # Beyond it gRPC answers CANCELLED, without a word and unseen by metrics: who is refused is told why.
            ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        ),
    )
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (SERVICE, _HEALTH, _REFLECTION, _REFLECTION_V1)
    _add_reflection(reflection.ReflectionServicer(names), server)
    return server


def _add_reflection(servicer: reflection.ReflectionServicer, server: grpc.aio.Server) -> None:
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handlers = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_REFLECTION_V1, handlers),))
