"""Helpers of the tests of slow, broken and hostile callers."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import server as rpc_server
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.server_options import ServerOptions
from embedwire_server.rpc.service import EmbeddingServicer
from tests.support.messages import request, text_input, url_input
from tests.support.serving import Served

SERVICE = "/embedwire.v1.EmbeddingService/"
UNARY = SERVICE + "CreateEmbeddingUnary"
AUDIO = request(url_input("audio", "http://media.test/a.mp3"))
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
RAW: dict[str, Any] = {"request_serializer": bytes, "response_deserializer": bytes}


async def is_well(served: Served) -> bool:
    """Whether another client is served, on a connection of its own."""
    async with grpc.aio.insecure_channel(served.app.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        return bool((await check).status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.asynccontextmanager
async def bare(rules: ServerOptions) -> AsyncGenerator[tuple[str, Metrics]]:
    """A gRPC server without a gateway, for options that are not settings and calls that end before it."""
    metrics = Metrics("sandbox")
    parts: dict[str, Any] = dict.fromkeys(("gateway", "requests", "catalog"))
    server = rpc_server.build(EmbeddingServicer(**parts), HealthServicer(), metrics, "sandbox", rules)
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", metrics
    finally:
        await server.stop(0)
