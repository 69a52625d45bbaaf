"""Callers that are slow, broken or hostile: what each of them gets, and that nobody else notices."""

import asyncio
import collections
import contextlib
import gzip
import json
import random
import struct
import time
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.core.errors import CallerStalled
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import call_context, deadline
from embedwire_server.rpc import server as rpc_server
from embedwire_server.rpc.flow_control import MessageWriter
from embedwire_server.rpc.grpcio.batch_leak import complete_operation
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.options import ServerOptions
from embedwire_server.rpc.service import EmbeddingServicer
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.messages import failed, request, text_input, url_input
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, endless, reply
from tests.support.virtual_time import in_virtual_time, now

SERVICE = "/embedwire.v1.EmbeddingService/"
UNARY = SERVICE + "CreateEmbeddingUnary"
AUDIO = request(url_input("audio", "http://media.test/a.mp3"))
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
LARGE = json.dumps(reply("audio_embedding", segments=1900)).encode()
RAW: dict[str, Any] = {"request_serializer": bytes, "response_deserializer": bytes}


def stub_of(channel: grpc.aio.Channel) -> Any:
    return embedding_pb2_grpc.EmbeddingServiceStub(channel)


async def is_well(served: Served) -> bool:
    """Whether somebody else is answered, on a connection of their own."""
    async with grpc.aio.insecure_channel(served.app.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return bool((await check).status == health_pb2.HealthCheckResponse.SERVING)


async def test_a_caller_that_takes_nothing_is_ended(scripted: Scripted) -> None:
    """After `stall_timeout` the upstream is let go and nothing is in flight; who reads on then finds ABORTED."""
    async with scripted(endless, server_write_stall_timeout=0.5) as (served, upstream):
        events = aiter(served.stub.CreateEmbedding(AUDIO, timeout=60))
        await anext(events)
        await asyncio.wait_for(upstream.visits[0].gone(), 10)
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="ABORTED") == 1)
        assert served.metric("embedwire_requests_total", reason="CALLER_STALLED") == 1
        assert served.metric("embedwire_inputs_in_flight") == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in events:
                pass

    failure = failed(caught.value)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "CALLER_STALLED")
    assert "0.5 s" in failure.message


@pytest.mark.parametrize("inputs", [1, 3])
async def test_a_caller_that_does_not_take_the_first_message_is_ended(scripted: Scripted, inputs: int) -> None:
    """GRPC cannot tell such a caller how its call ended, since the first write is still under way; nothing is left."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply())

    path, asked = SERVICE + "CreateEmbedding", message(request(*[text_input()] * inputs).SerializeToString())
    async with (
        scripted(script, server_write_stall_timeout=0.2) as (served, _),
        Connection.open(served.app.target, settings=struct.pack(">HI", 4, 0)) as connection,
    ):
        await connection.send(call(path, 1), frame(http2.DATA, asked, flags=http2.END_STREAM, stream=1))
        await until(lambda: served.metric("embedwire_requests_total", reason="CALLER_STALLED") == 1)
        assert served.metric("embedwire_inputs_in_flight") == 0


async def test_a_call_that_ends_in_its_first_write_logs_no_exception() -> None:
    """With the public API as well: the write fails when the call has ended, which is no exception to report."""
    settings: dict[str, Any] = {"server_grpc_public_api_only": True, "upstream": "sandbox"}
    asked = message(request(*[text_input()] * 2).SerializeToString())
    async with ServerProcess.running(**settings) as server:
        for _ in range(3):
            async with Connection.open(server.target, settings=struct.pack(">HI", 4, 0)) as connection:
                head = call(SERVICE + "CreateEmbedding", 1, ("grpc-timeout", "200m"))
                await connection.send(head, frame(http2.DATA, asked, flags=http2.END_STREAM, stream=1))
                await until(lambda: 'grpc_code="DEADLINE_EXCEEDED"' in server.metrics())
        assert await server.terminate() == 0

    assert not [line for line in server.log if "exception" in line]


async def test_a_slow_caller_is_not_a_stalled_one(scripted: Scripted) -> None:
    """Who takes a little now and then gets everything, also when that lasts longer than `stall_timeout`."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", segments=60))

    window = struct.pack(">HI", 4, 1 << 14)  # room for about two segments
    path, asked = SERVICE + "CreateEmbedding", message(AUDIO.SerializeToString())
    async with (
        scripted(script, server_write_stall_timeout=1) as (served, _),
        Connection.open(served.app.target, settings=window) as connection,
    ):
        began = time.monotonic()
        await connection.send(call(path, 1), frame(http2.DATA, asked, flags=http2.END_STREAM, stream=1))
        room = struct.pack(">I", 1 << 14)
        while (got := await connection.next()) is not None and not (got.kind == http2.HEADERS and got.flags & 1):
            if got.kind == http2.DATA and len(got.payload) > 1000:
                await asyncio.sleep(0.05)
                await connection.send(*[frame(http2.WINDOW_UPDATE, room, stream=stream) for stream in (0, 1)])
        await until(lambda: served.metric("embedwire_requests_total", reason="OK") == 1)

    assert time.monotonic() - began > 1


@in_virtual_time
async def test_one_timer_a_call_watches_every_write() -> None:
    """The timer looks at the write under way: later ones count from their own start, however long they take in all."""
    moves = asyncio.Event()
    moves.set()

    class Context:
        async def write(self, _: object) -> None:
            await moves.wait()

    one = call_context.Call("id", "service", 60, deadline.DefaultDeadlines(), 0.2, is_ours=True)
    context: Any = Context()

    async def write_until_stuck() -> None:
        with one:
            writer = MessageWriter(context, one, bytes, complete_operation, complete_operation)
            while now() < 0.3:  # longer than the timeout, but each of them ends
                await writer.write(b"")
                await asyncio.sleep(0.01)
            moves.clear()
            await writer.write(b"")

    with pytest.raises(CallerStalled):
        await write_until_stuck()
    assert now() == pytest.approx(0.5, abs=0.02)


@contextlib.asynccontextmanager
async def bare(rules: ServerOptions) -> AsyncGenerator[tuple[str, Metrics]]:
    """The gRPC face alone, for rules that are no settings and calls that do not get past it."""
    metrics = Metrics("sandbox")
    parts: dict[str, Any] = dict.fromkeys(("gateway", "requests", "catalog"))
    server = rpc_server.build(EmbeddingServicer(**parts), HealthServicer(), metrics, "sandbox", rules)
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", metrics
    finally:
        await server.stop(0)


@pytest.mark.parametrize("sent", [0, 3, 40], ids=["nothing", "part-of-a-length", "part-of-a-message"])
async def test_a_request_that_never_arrives_is_not_waited_for(sent: int) -> None:
    """Waiting for the first message is within the call's time, and seen by the metrics."""
    part = message(bytes(1000))[:sent]
    ended = {"grpc_service": "embedwire.v1.EmbeddingService", "grpc_method": "CreateEmbeddingUnary"}
    ended |= {"grpc_type": "unary", "grpc_code": "DEADLINE_EXCEEDED"}
    rules = ServerOptions(deadlines=deadline.DefaultDeadlines(text=0.2))
    async with bare(rules) as (target, metrics), Connection.open(target) as connection:
        await connection.send(call(UNARY, 1), frame(http2.DATA, part, stream=1))
        assert await connection.until(http2.HEADERS) is not None
        await until(lambda: metrics.registry.get_sample_value("grpc_server_handled_total", ended) == 1)


async def test_a_call_without_its_message_is_invalid(served: Served) -> None:
    """A unary call whose caller sends no message is told so, instead of waiting for ever."""

    async def nothing() -> AsyncGenerator[bytes]:
        return
        yield b""

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.stream_unary(UNARY, **RAW)(nothing(), timeout=9)

    assert failed(caught.value).info.reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("method", ["CreateEmbedding", "CreateEmbeddingUnary", "CreateEmbeddingFromUpload"])
async def test_who_leaves_before_the_first_message_has_left(served: Served, method: str) -> None:
    """A call that is reset before its message has arrived counts as cancelled, not as one that was invalid."""
    async with http2.Connection.open(served.app.target) as connection:
        await connection.send(call(f"/embedwire.v1.EmbeddingService/{method}", 1))
        await until(lambda: served.metric("grpc_server_started_total", grpc_method=method) == 1)
        await connection.send(frame(http2.RST_STREAM, (8).to_bytes(4, "big"), stream=1))
        await until(lambda: served.metric("grpc_server_handled_total", grpc_method=method) == 1)
    assert served.metric("embedwire_requests_total", method=method, reason="CANCELLED") == 1


async def test_silent_connections_are_closed() -> None:
    """A connection that says nothing is closed after the handshake timeout."""
    async with bare(ServerOptions(handshake_timeout=0.3)) as (target, _), http2.tcp(target) as (reader, _):
        began = time.monotonic()
        while await asyncio.wait_for(reader.read(1 << 16), 20):
            pass

    assert time.monotonic() - began > 0.2


async def test_vanished_clients_are_noticed() -> None:
    """A connection that answers no ping is closed."""
    rules = ServerOptions(keepalive_time=0.3, ping_timeout=0.2)
    async with bare(rules) as (target, _), Connection.open(target) as connection:
        assert await asyncio.wait_for(connection.until(http2.PING), 20) is not None
        while await asyncio.wait_for(connection.next(), 20) is not None:
            pass


async def test_a_late_answer_to_a_ping_ends_no_connection() -> None:
    """On a slow link it waits behind the caller's own data, for longer than a vanished host is waited for."""
    rules = ServerOptions(keepalive_time=0.3, keepalive_timeout=0.2)
    async with bare(rules) as (target, _), Connection.open(target) as connection:
        ping = await asyncio.wait_for(connection.until(http2.PING), 20)
        assert ping is not None
        await asyncio.sleep(1.0)
        await connection.send(http2.frame(http2.PING, ping.payload, flags=http2.ACK))
        await connection.send(http2.frame(http2.PING, b"go on ok"))
        while (got := await asyncio.wait_for(connection.until(http2.PING), 20)) is not None:
            if got.payload == b"go on ok":
                break
        assert got is not None


async def test_garbage_harms_nobody_else(served: Served) -> None:
    """Connections that speak something else are closed, and others are served."""
    noise = random.Random(7)

    async def talk(first: bytes) -> None:
        async with http2.tcp(served.app.target) as (reader, writer):
            writer.write(first + noise.randbytes(noise.randrange(1, 4096)))
            with contextlib.suppress(ConnectionError):
                while await asyncio.wait_for(reader.read(1 << 16), 5):
                    pass

    starts = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", http2.PREFACE[:20]]
    await asyncio.gather(*[talk(starts[number % 3]) for number in range(150)])
    assert await is_well(served)


PATHS = ["/", "//", "/a", "/a/b/c", SERVICE, SERVICE + "Nope", "/embedwire.v2.EmbeddingService/CreateEmbedding"]


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_methods_are_unimplemented(served: Served, path: str) -> None:
    """Whatever is not there is UNIMPLEMENTED, and its name is in no metric."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(path, **RAW)(b"", timeout=9)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "grpc_server_started_total{" not in served.metrics()


async def test_metadata_has_one_limit(served: Served) -> None:
    """What a caller's tools add passes every time; what is over the limit is refused every time, and says so."""
    for _ in range(20):
        fits = served.stub.CreateEmbeddingUnary(TEXT, metadata=[("traces", "x" * 12_000)], timeout=9)
        too_much = served.stub.CreateEmbeddingUnary(TEXT, metadata=[("traces", "x" * 17_000)], timeout=9)
        assert await fits.code() is grpc.StatusCode.OK
        assert await too_much.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_compressed_requests_are_weighed_unpacked() -> None:
    """A small one is answered; a bomb is RESOURCE_EXHAUSTED, and the server never holds what it would become."""
    bomb = message(gzip.compress(bytes(100 << 20), 1), compressed=True)
    async with ServerProcess.running() as server:
        small = server.stub.CreateEmbeddingUnary(TEXT, compression=grpc.Compression.Gzip, timeout=9)
        assert await small.code() is grpc.StatusCode.OK
        before = server.peak_memory()
        async with Connection.open(server.target) as connection:
            await connection.send(call(UNARY, 1, ("grpc-encoding", "gzip")))
            await connection.send(*[frame(0, bomb[at : at + 16384], stream=1) for at in range(0, len(bomb), 16384)])
            trailers = await connection.until(http2.HEADERS)
        assert trailers is not None
        assert b"grpc-status\x018" in trailers.payload
        assert server.peak_memory() - before < 48 << 20


async def test_calls_that_are_reset_at_once_leave_nothing_behind() -> None:
    """Thousands of calls that are begun and reset cost little memory, are refused past a limit, and hold nobody up."""
    async with ServerProcess.running() as server:
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=9)
        before = server.peak_memory()
        async with Connection.open(server.target) as connection:
            reading = asyncio.create_task(connection.until(http2.GOAWAY))
            for first in range(1, 40_001, 200):
                resets = [
                    call(UNARY, stream) + frame(3, b"\0\0\0\x08", stream=stream)
                    for stream in range(first, first + 200, 2)
                ]
                await connection.send(*resets)
            assert await server.stub.CreateEmbeddingUnary(TEXT, timeout=9).code() is grpc.StatusCode.OK
            reading.cancel()
        assert server.peak_memory() - before < 64 << 20


async def test_bursts_within_the_limits_are_answered(scripted: Scripted) -> None:
    """More calls than a connection carries wait in the client, and those that follow cancelled ones are not refused."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply())

    async with scripted(script, concurrency_queue_per_modality=10_000) as (served, _):
        for _ in range(2):
            cancelled = [served.stub.CreateEmbeddingUnary(TEXT, timeout=30) for _ in range(500)]
            await asyncio.sleep(0.02)
            for one in cancelled:
                one.cancel()
            burst = [served.stub.CreateEmbeddingUnary(TEXT, timeout=30) for _ in range(1500)]
            assert {await one.code() for one in burst} == {grpc.StatusCode.OK}


async def test_untaken_answers_are_bounded(scripted: Scripted) -> None:
    """Who asks for large answers in one message and takes none of them is refused further ones; others are not."""

    async def script(visit: Visit) -> None:
        await visit.answer(LARGE if b"audio" in visit.body else reply())

    asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=AUDIO.inputs)
    framed = message(asked.SerializeToString())
    no_room = struct.pack(">HI", 4, 0)
    async with scripted(script) as (served, _):
        async with Connection.open(served.app.target, settings=no_room) as connection:
            for stream in range(1, 24, 2):
                await connection.send(call(UNARY, stream), frame(http2.DATA, framed, flags=1, stream=stream))
            await until(lambda: served.metric("embedwire_requests_total") == 12, 30)
            answered = served.metric("embedwire_requests_total", reason="OK")
            worked_on = served.metric("embedwire_inputs_total")
            assert answered <= 8
            await connection.send(call(UNARY, 25), frame(http2.DATA, framed, flags=1, stream=25))
            await until(lambda: served.metric("embedwire_requests_total") == 13)
            assert served.metric("embedwire_requests_total", reason="OVERLOADED") > 0
            assert served.metric("embedwire_inputs_total") == worked_on
            assert await served.stub.CreateEmbeddingUnary(asked, timeout=9).code() is grpc.StatusCode.OK
        async with Connection.open(served.app.target) as connection:
            await connection.send(call(UNARY, 1), frame(http2.DATA, framed, flags=1, stream=1))
            assert await connection.until(http2.DATA) is not None


async def test_connections_leave_files_for_others() -> None:
    """With more connections than the process may have, the metrics are still read and running connections served."""
    async with ServerProcess.running(files=256) as server, contextlib.AsyncExitStack() as connections:
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=9)
        for _ in range(300):
            await connections.enter_async_context(http2.tcp(server.target))
        assert await server.stub.CreateEmbeddingUnary(TEXT, timeout=9).code() is grpc.StatusCode.OK
        assert "embedwire_build_info" in await asyncio.to_thread(server.metrics)


@pytest.mark.parametrize(("pings", "pause"), [(50, 0.0), (100, 0.001), (10, 0.02), (100_000, 0.0)])
async def test_pings_end_no_call(scripted: Scripted, pings: int, pause: float) -> None:
    """Whatever the interval of a client's pings, all are answered, and a call whose upstream is silent goes on."""
    may_answer = asyncio.Event()

    async def script(visit: Visit) -> None:
        await may_answer.wait()
        await visit.answer(reply())

    async with scripted(script) as (served, upstream), Connection.open(served.app.target) as connection:
        body = frame(http2.DATA, message(TEXT.SerializeToString()), flags=http2.END_STREAM, stream=1)
        await connection.send(call(UNARY, 1), body)
        await until(lambda: len(upstream.visits) == 1)
        for _ in range(min(pings, 100)):
            await connection.send(*[frame(http2.PING, bytes(8))] * (pings // min(pings, 100)))
            await asyncio.sleep(pause)
        acknowledged = 0
        while acknowledged < pings:
            received = await asyncio.wait_for(connection.next(), 10)
            assert received is not None
            assert received.kind != http2.GOAWAY, received.payload
            acknowledged += received.kind == http2.PING
        assert await is_well(served)
        may_answer.set()
        answered = await asyncio.wait_for(connection.until(http2.DATA), 10)

    assert answered is not None


async def test_reconnecting_loses_no_call(scripted: Scripted) -> None:
    """Connections that are retired every second under load cost no call, and long calls outlive their age."""

    async def script(visit: Visit) -> None:
        if b"audio" not in visit.body:
            await visit.answer(reply())
            return
        body = json.dumps(reply("audio_embedding", segments=30)).encode()
        await visit.head(length=len(body))
        for at in range(0, len(body), len(body) // 30):
            await asyncio.sleep(0.1)  # not after the last one: the connection is then the next call's
            await visit.send(body[at : at + len(body) // 30])

    async with scripted(script, server_max_connection_age=1) as (served, _):
        long = [asyncio.ensure_future(_take(served.stub.CreateEmbedding(AUDIO, timeout=30))) for _ in range(4)]
        codes: collections.Counter[grpc.StatusCode] = collections.Counter()

        async def load() -> None:
            while not all(one.done() for one in long):
                codes[await served.stub.CreateEmbeddingUnary(TEXT, timeout=9).code()] += 1

        await asyncio.gather(*[load() for _ in range(8)])
        assert [len(await one) for one in long] == [31] * 4

    assert set(codes) == {grpc.StatusCode.OK}


async def _take(stream: Any) -> list[Any]:
    return [event async for event in stream]


RETRYING = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
                },
            }
        ]
    }
)


@pytest.mark.parametrize("status", [503, 429])
async def test_a_client_does_not_repeat_what_the_server_has_tried(scripted: Scripted, status: int) -> None:
    """A client that is set to retry such codes makes one call: pushback says that another is of no use."""

    async def script(visit: Visit) -> None:
        await visit.answer({"code": "no", "message": "not now"}, status)

    once = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()], max_retries=0)
    async with (
        scripted(script) as (served, upstream),
        grpc.aio.insecure_channel(served.app.target, [("grpc.service_config", RETRYING)]) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(channel).CreateEmbeddingUnary(once, timeout=9)

    assert len(upstream.visits) == 1
    assert failed(caught.value).trailers["grpc-retry-pushback-ms"] == "-1"


async def test_a_client_repeats_what_the_server_refused(scripted: Scripted) -> None:
    """OVERLOADED says when to come again, and a client that is set to retry does, until it is answered."""
    was_refused = asyncio.Event()

    async def script(visit: Visit) -> None:
        await was_refused.wait()
        await visit.answer(reply())

    async with (
        scripted(script, concurrency_inputs_per_modality=1, concurrency_queue_per_modality=0) as (served, upstream),
        grpc.aio.insecure_channel(served.app.target, [("grpc.service_config", RETRYING)]) as channel,
    ):
        stub = stub_of(channel)
        first = stub.CreateEmbeddingUnary(TEXT, timeout=20)
        await until(lambda: len(upstream.visits) == 1)
        second = asyncio.ensure_future(stub.CreateEmbeddingUnary(TEXT, timeout=20).code())
        await until(lambda: served.metric("embedwire_requests_total", reason="OVERLOADED") > 0)
        was_refused.set()
        assert [await first.code(), await second] == [grpc.StatusCode.OK] * 2
