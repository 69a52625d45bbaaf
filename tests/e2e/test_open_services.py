"""Limits on the number and time of calls without a token or without a message."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import GatewayError
from embedwire_server.core.inputs import Caller
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import call_context, deadline, health, reflection, services
from embedwire_server.rpc import server as rpc_server
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.pending_calls import PendingCalls
from embedwire_server.rpc.server_options import ServerOptions
from embedwire_server.rpc.service import EmbeddingServicer
from embedwire_server.rpc.stream_limit import StreamLimit
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.messages import failed, text_input
from tests.support.pki import sha256
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.upstreams import Visit, reply

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
SERVING = health_pb2.HealthCheckResponse.SERVING
OWN = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
OURS, HEALTH = "/embedwire.v1.EmbeddingService/", "/grpc.health.v1.Health/"
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
SYMBOL = reflection_pb2.ServerReflectionRequest(file_containing_symbol="embedwire.v1.EmbeddingService")
TOKENS = ({"name": "a", "sha256": sha256("a")},)


@contextlib.asynccontextmanager
async def connected(target: str) -> AsyncGenerator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(target, OWN) as channel:
        yield channel


@contextlib.asynccontextmanager
async def watches(channel: grpc.aio.Channel, count: int) -> AsyncGenerator[list[Any]]:
    """Open watches, each of which has received its first status."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    open_calls = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(count)]
    for one in open_calls:
        assert (await one.read()).status == SERVING
    yield open_calls
    for one in open_calls:
        one.cancel()


async def refusal(stream: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stream:
            pass
    return caught.value


async def is_answered(served: Served, target: str = "") -> bool:
    """Whether health checks, and calls of other clients, are answered."""
    async with connected(target or served.app.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await served.stub.CreateEmbeddingUnary(TEXT, timeout=20)
        return bool((await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)).status == SERVING)


@pytest.mark.parametrize("port", ["target", "health_target"])
async def test_watches_of_one_connection_are_limited(serve: Serve, port: str) -> None:
    """A watch over the limit is rejected with the limit, on both ports; other connections can watch and check."""
    async with serve(health_listen="127.0.0.1:0") as served:
        target = getattr(served.app, port)
        async with (
            connected(target) as channel,
            connected(target) as another,
            watches(channel, health.MAX_WATCHES_OF_A_CONNECTION) as held,
        ):
            stub: Any = health_pb2_grpc.HealthStub(channel)
            failure = failed(await refusal(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)))
            assert (failure.code, failure.info.reason) == (EXHAUSTED, "OVERLOADED")
            assert f"at most {health.MAX_WATCHES_OF_A_CONNECTION}" in failure.message
            assert await is_answered(served, target)
            async with watches(another, 3):
                pass
            held[0].cancel()
            await until(lambda: served.metric("grpc_server_handled_total", grpc_method="Watch") >= 5)
            async with watches(channel, 1):
                pass


async def test_a_proxy_carries_the_watches_of_its_clients(served: Served) -> None:
    """400 watches over one connection from a proxy are all answered, and other clients can watch as well."""
    target = served.app.target
    async with connected(target) as channel, watches(channel, 400), connected(target) as another, watches(another, 100):
        assert await is_answered(served)


async def test_watches_of_one_host_are_limited() -> None:
    """However many connections a host opens, watches of another host are accepted."""
    limit, count = StreamLimit("health watches", health.MAX_WATCHES, health.MAX_WATCHES_OF_A_CONNECTION), 0
    with contextlib.ExitStack() as held:
        try:
            for count in range(health.MAX_WATCHES):
                held.enter_context(limit.held(f"ipv4:10.0.0.1:{count}"))
        except GatewayError as error:
            words = error.message
        assert f"at most {health.MAX_WATCHES}" in words
        assert 0.8 * health.MAX_WATCHES < count < health.MAX_WATCHES
        for number in range(100):
            held.enter_context(limit.held(f"ipv4:10.0.0.2:{number}"))


async def test_reflection_streams_of_one_connection_are_limited(served: Served) -> None:
    """A reflection stream over the limit is rejected with the limit; after one has ended another is accepted."""
    most = reflection.MAX_STREAMS_OF_A_CONNECTION
    async with connected(served.app.target) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        streams = [stub.ServerReflectionInfo(timeout=60) for _ in range(most)]
        for stream in streams:
            await stream.write(SYMBOL)
            assert (await stream.read()).HasField("file_descriptor_response")
        failure = failed(await refusal(stub.ServerReflectionInfo(iter([SYMBOL]), timeout=20)))
        assert (failure.code, failure.info.reason) == (EXHAUSTED, "OVERLOADED")
        assert f"at most {most}" in failure.message
        assert await is_answered(served)
        await streams[0].done_writing()
        assert await streams[0].read() is grpc.aio.EOF
        assert [answer async for answer in stub.ServerReflectionInfo(iter([SYMBOL]), timeout=20)]


LARGE = reflection_pb2.ServerReflectionRequest(file_by_filename="x" * (reflection.MAX_REQUEST_BYTES // 2))
WHOLE = reflection_pb2.ServerReflectionRequest(list_services="")


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        pytest.param([WHOLE] * (reflection.MAX_MESSAGES + 1), f"{reflection.MAX_MESSAGES} messages", id="messages"),
        pytest.param([LARGE] * 3, f"{reflection.MAX_REQUEST_BYTES} bytes of requests", id="bytes"),
        pytest.param(
            [reflection_pb2.ServerReflectionRequest(file_by_filename="x" * (3 << 20))],
            f"{reflection.MAX_REQUEST_BYTES} bytes of requests",
            id="one large message",
        ),
    ],
)
async def test_a_reflection_stream_is_limited(served: Served, asked: list[Any], limit: str) -> None:
    """A stream with too many messages or bytes is ended, and the message names the limit."""
    async with connected(served.app.target) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        failure = failed(await refusal(stub.ServerReflectionInfo(iter(asked), timeout=30)))

    assert failure.code == EXHAUSTED
    assert limit in failure.message


async def test_an_idle_reflection_stream_is_ended() -> None:
    """An idle stream is ended after its timeout, with the reason."""
    async with bare(reflection_idle_timeout=0.3) as (target, _), connected(target) as channel:
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=60)
        await stream.write(WHOLE)
        assert (await stream.read()).HasField("list_services_response")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()

    failure = failed(caught.value)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "CALLER_STALLED")
    assert "0.3 s" in failure.message


@contextlib.asynccontextmanager
async def bare(**rules: Any) -> AsyncGenerator[tuple[str, Metrics]]:
    """The gRPC service alone, for limits that are not settings."""
    metrics = Metrics("sandbox")
    parts: dict[str, Any] = dict.fromkeys(("gateway", "requests", "catalog"))
    server = rpc_server.build(EmbeddingServicer(**parts), HealthServicer(), metrics, "sandbox", ServerOptions(**rules))
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", metrics
    finally:
        await server.stop(0)


def handled(metrics: Metrics, **labels: str) -> dict[str, float]:
    """The number of ended calls by status code."""
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    return {
        sample.labels["grpc_code"]: sample.value
        for sample in samples
        if sample.name == "grpc_server_handled_total" and sample.labels.items() >= labels.items()
    }


METHODS = {
    "unary": OURS + "CreateEmbeddingUnary",
    "stream": OURS + "CreateEmbedding",
    "upload": OURS + "CreateEmbeddingFromUpload",
    "models": OURS + "ListModels",
    "check": HEALTH + "Check",
    "watch": HEALTH + "Watch",
    "reflection": "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "older reflection": "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


@pytest.mark.parametrize("part", [b"", message(bytes(1000))[:40]], ids=["headers only", "half a message"])
@pytest.mark.parametrize("path", METHODS.values(), ids=METHODS)
async def test_a_call_without_its_first_message_is_ended(path: str, part: bytes) -> None:
    """A call without its first message is ended after a timeout, whatever its deadline, with the reason."""
    rules = {"first_message_timeout": 0.3, "first_message_timeout_of_open_services": 0.3}
    async with bare(**rules) as (target, metrics), Connection.open(target) as connection:
        await connection.send(call(path, 1, ("grpc-timeout", "1H")), frame(http2.DATA, part, stream=1))
        got = await asyncio.wait_for(connection.until(http2.HEADERS), 20)
        assert got is not None
        assert b"0.3 s" in got.payload
        service, method = path.split("/")[1:]
        labels = {"grpc_service": service, "grpc_method": method}
        await until(lambda: handled(metrics, **labels) == {"ABORTED": 1})


def test_the_first_message_may_take_as_long_as_the_default_deadline() -> None:
    """The first message may take as long as the longest default deadline: clients send files of 1 MiB in it."""
    assert ServerOptions().first_message_timeout >= deadline.DefaultDeadlines().audio


@pytest.mark.parametrize("path", [METHODS["unary"], METHODS["upload"]], ids=["unary", "upload"])
async def test_a_call_without_a_token_is_rejected_without_a_message(serve: Serve, path: str) -> None:
    """A call without a token is rejected after its headers, without waiting for a message."""
    async with serve(tokens=TOKENS) as served, Connection.open(served.app.target) as connection:
        await connection.send(call(path, 1))
        got = await asyncio.wait_for(connection.until(http2.HEADERS), 10)
        assert got is not None
        assert b"bearer token" in got.payload


class Bench:
    """Pending calls without a server."""

    def __init__(self, most: int, seconds: float = 60) -> None:
        self.pending = PendingCalls(most, seconds)

    def call(self, connection: str) -> call_context.Call:
        caller: Caller = ("10.0.0.1", connection)
        return call_context.Call("id", "service", 60, deadline.DefaultDeadlines(), 60, is_ours=True, caller=caller)

    async def waiting(self, connection: str) -> "asyncio.Task[None]":
        """A call that waits for its first message."""
        made = self.call(connection)

        async def wait() -> None:
            with made:
                self.pending.add(made)
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        return task


async def ended(*waiting: "asyncio.Task[None]") -> list[GatewayError | None]:
    """The reason why each call was ended; None for calls that still wait, which are cancelled."""
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, GatewayError | asyncio.CancelledError) for outcome in outcomes)
    return [outcome if isinstance(outcome, GatewayError) else None for outcome in outcomes]


async def test_the_connection_with_most_pending_calls_loses_its_oldest() -> None:
    """Over the limit the oldest call of the connection with the most calls is ended, not the newest call."""
    bench = Bench(10)
    other = await bench.waiting("other")
    hostile = [await bench.waiting("hostile") for _ in range(12)]
    late = await bench.waiting("late")
    failures = await ended(other, *hostile, late)

    assert [failure is not None for failure in failures] == [False] + [True] * 4 + [False] * 8 + [False]
    assert "more than 10 calls" in str(failures[1])


async def test_calls_whose_message_has_arrived_are_not_counted() -> None:
    """A call is released once, also if it ends after that, and nothing of it is kept."""
    bench = Bench(2)
    for _ in range(20):
        made = bench.call("a")
        bench.pending.add(made)
        bench.pending.discard(made)
        bench.pending.discard(made)
    never_added = bench.call("a")
    assert sys.getrefcount(made) == sys.getrefcount(never_added)
    first, second = await bench.waiting("a"), await bench.waiting("b")
    await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    third = await bench.waiting("b")

    assert [failure is not None for failure in await ended(first, second, third)] == [False, True, False]


async def test_header_only_calls_do_not_delay_others(scripted: Scripted) -> None:
    """Header-only calls over the limit are ended, and complete calls and health checks are answered."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply())

    most = services.MAX_PENDING_MESSAGES
    async with (
        scripted(script) as (served, _),
        Connection.open(served.app.target) as one,
        Connection.open(served.app.target) as two,
        Connection.open(served.app.target) as three,
    ):
        for connection in (one, two, three):
            await connection.send(*[call(METHODS["unary"], 2 * number + 1) for number in range(900)])
        refused = {"grpc_code": "RESOURCE_EXHAUSTED", "grpc_method": "CreateEmbeddingUnary"}
        await until(lambda: served.metric("grpc_server_handled_total", **refused) == 2700 - most, 60)
        began = time.monotonic()
        assert await is_answered(served)
        assert time.monotonic() - began < 10
        assert served.metric("embedwire_requests_total", reason="OK") == 1


async def test_a_slow_large_request_is_not_ended(serve: Serve) -> None:
    """A caller whose message arrives slowly is not ended while no resource is short."""

    async def slowly(connection: Connection, data: bytes) -> None:
        for at in range(0, len(data), 1000):
            await connection.send(frame(http2.DATA, data[at : at + 1000], stream=1))
            await asyncio.sleep(0.02)
        await connection.send(frame(http2.DATA, b"", flags=http2.END_STREAM, stream=1))

    text = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input("fox " * 10_000)])
    async with serve() as served, Connection.open(served.app.target) as connection:
        await connection.send(call(METHODS["unary"], 1))
        await slowly(connection, message(text.SerializeToString()))
        await until(lambda: served.metric("embedwire_requests_total", reason="OK") == 1)
