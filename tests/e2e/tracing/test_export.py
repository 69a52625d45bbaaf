"""Export of spans: protocols, worker processes, and receivers that do not answer."""

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.e2e.tracing.support import embed
from tests.support.load import stub_of
from tests.support.messages import text_input
from tests.support.otlp import Receiver, variables
from tests.support.ports import NO_SERVER
from tests.support.process import ServerProcess
from tests.support.upstreams import ScriptedHttpServer, Visit, answer

SECRET = "Bearer very-secret"
HEADERS = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET}"}


class Called(NamedTuple):
    """A connection of its own, which the kernel gives to any worker."""

    stub: Any


@contextlib.asynccontextmanager
async def exporting(environment: dict[str, str], **settings: Any) -> AsyncGenerator[ServerProcess]:
    """Run a server with an upstream that answers."""
    async with ServerProcess.running(answer, environment=environment, log_format="json", **settings) as server:
        yield server


async def test_grpc(receiver: Receiver) -> None:
    """The default protocol is gRPC; the variables set headers, the name and attributes of the service."""
    environment = variables(
        receiver.endpoint,
        **HEADERS,
        OTEL_SERVICE_NAME="mine",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,service.name=other",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    async with exporting(environment) as server:
        await embed(server)
        await receiver.received(3)
    assert receiver.metadata[0]["authorization"] == SECRET
    resource = receiver.spans[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("mine", "test")
    assert resource["telemetry.sdk.name"] == "opentelemetry"


async def test_empty_variables(receiver: Receiver) -> None:
    """An empty variable counts as unset, also one that the SDK reads as a number."""
    empty = {"OTEL_BSP_SCHEDULE_DELAY": " ", "OTEL_ATTRIBUTE_COUNT_LIMIT": "", "OTEL_TRACES_SAMPLER": ""}
    async with exporting(variables(receiver.endpoint) | empty) as server:
        await embed(server)
        await receiver.received(3)  # after the default delay of 5 s
        await server.terminate()
    assert not [line for line in server.log if "OTEL_" in line]


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_http(compression: str) -> None:
    """OTEL_EXPORTER_OTLP_PROTOCOL selects OTLP over HTTP."""
    arrived, found = asyncio.Event(), Receiver()

    async def script(visit: Visit) -> None:
        assert visit.path == "/v1/traces"
        body = gzip.decompress(visit.body) if compression == "gzip" else visit.body
        found.add(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        await visit.answer(b"")
        if len(found.spans) == 3:
            arrived.set()

    async with ScriptedHttpServer(script).running() as http:
        environment = variables(http.base_url, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")
        async with exporting(environment | {"OTEL_EXPORTER_OTLP_COMPRESSION": compression}) as server:
            await embed(server)
            await asyncio.wait_for(arrived.wait(), 30)
    assert {one.resource["service.name"] for one in found.spans} == {"embedwire"}


async def test_the_stop_exports_the_rest(receiver: Receiver) -> None:
    """Spans that wait for their batch are exported when the server stops."""
    later = variables(receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="5")
    async with exporting(later) as server:
        await embed(server, text_input(), text_input())  # five spans, a batch: at the stop there is a connection
        await receiver.received(5)
        await embed(server)
        assert len(receiver.spans) == 5
        assert await server.terminate() == 0
    assert len(receiver.spans) == 8


async def test_workers(receiver: Receiver) -> None:
    """Each worker exports its spans, with an instance id of its own."""
    async with exporting(variables(receiver.endpoint), workers=2) as server:
        async with asyncio.timeout(60):
            while len({one.resource["service.instance.id"] for one in receiver.spans}) < 2:
                async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                    await embed(Called(stub_of(channel)))
        assert await server.terminate() == 0
    assert len(receiver.spans) % 3 == 0


@contextlib.asynccontextmanager
async def hanging(protocol: str) -> AsyncGenerator[str]:
    """Run a receiver that accepts requests and does not answer."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    if protocol == "grpc":
        async with Receiver(hang=True).running() as receiver:
            yield receiver.endpoint
    else:
        async with ScriptedHttpServer(script).running() as http:
            yield http.base_url


@contextlib.asynccontextmanager
async def silent() -> AsyncGenerator[str]:
    """Run a receiver whose connections are accepted by the kernel only, and never read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.asynccontextmanager
async def dead() -> AsyncGenerator[str]:
    """Name a receiver that does not listen."""
    yield f"http://{NO_SERVER}"


RECEIVERS = {
    "dead, gRPC": (dead, "grpc"),
    "dead, HTTP": (dead, "http/protobuf"),
    "hanging, gRPC": (lambda: hanging("grpc"), "grpc"),
    "silent, gRPC": (silent, "grpc"),
    "hanging, HTTP": (lambda: hanging("http/protobuf"), "http/protobuf"),
}


@pytest.mark.parametrize("kind", RECEIVERS)
async def test_a_receiver_that_does_not_answer(kind: str) -> None:
    """Calls succeed, the log has no secrets and few lines, and the stop takes about two seconds more at most."""
    receiver, protocol = RECEIVERS[kind]
    async with receiver() as endpoint:
        environment = variables(endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_BSP_MAX_QUEUE_SIZE="20", **HEADERS)
        environment |= {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}
        environment |= {"OTEL_EXPORTER_OTLP_TIMEOUT": "60", "OTEL_BSP_EXPORT_TIMEOUT": "60000"}
        async with exporting(environment) as server:
            for _ in range(30):
                await embed(server)
            began = time.monotonic()
            assert await server.terminate() == 0
            took = time.monotonic() - began
    lines = [line for line in server.log if '"body": "call"' not in line]
    assert took < 30  # the timeouts of the exporter and of the SDK are 60 s
    assert not any("secret" in line or endpoint.removeprefix("http://") in line for line in lines)
    assert any("problem" in line or "lost" in line for line in lines)
    assert len(lines) < 8
