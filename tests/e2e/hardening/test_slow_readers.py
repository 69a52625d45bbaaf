"""Callers that do not read their replies, or read them slowly."""

import asyncio
import json
import struct
import time
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import CallerStalled
from embedwire_server.rpc import call_context, deadline
from embedwire_server.rpc.flow_control import MessageWriter
from embedwire_server.rpc.grpcio.batch_leak import complete_operation
from tests.e2e.hardening.support import AUDIO, SERVICE, UNARY
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.messages import failed, request, text_input
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, endless, reply
from tests.support.virtual_time import in_virtual_time, now

LARGE = json.dumps(reply("audio_embedding", segments=1900)).encode()


async def test_a_call_that_stalls_is_ended(scripted: Scripted) -> None:
    """After `server_write_stall_timeout` the upstream request is aborted, and a later read finds ABORTED."""
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
async def test_a_call_that_stalls_in_its_first_write_is_ended(scripted: Scripted, inputs: int) -> None:
    """A call whose first write stalls is aborted, though gRPC cannot send its status; nothing is left of it."""

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
    """A first write that fails because its call has ended logs no exception, also with the public API of grpcio."""
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


async def test_a_slow_reader_is_not_stalled(scripted: Scripted) -> None:
    """A slow reader gets the whole response, also if that takes longer than `server_write_stall_timeout`."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", segments=60))

    window = struct.pack(">HI", 4, 1 << 14)  # flow-control window for about two segments
    path, asked = SERVICE + "CreateEmbedding", message(AUDIO.SerializeToString())
    async with (
        scripted(script, server_write_stall_timeout=1) as (served, _),
        Connection.open(served.app.target, settings=window) as connection,
    ):
        began = time.monotonic()
        await connection.send(call(path, 1), frame(http2.DATA, asked, flags=http2.END_STREAM, stream=1))
        window = struct.pack(">I", 1 << 14)
        while (got := await connection.next()) is not None and not (got.kind == http2.HEADERS and got.flags & 1):
            if got.kind == http2.DATA and len(got.payload) > 1000:
                await asyncio.sleep(0.05)
                await connection.send(*[frame(http2.WINDOW_UPDATE, window, stream=stream) for stream in (0, 1)])
        await until(lambda: served.metric("embedwire_requests_total", reason="OK") == 1)

    assert time.monotonic() - began > 1


@in_virtual_time
async def test_one_timer_per_call_limits_every_write() -> None:
    """The timer applies to the current write: each has the full timeout, however long all of them take together."""
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


async def test_unread_responses_are_limited(scripted: Scripted) -> None:
    """A caller that reads none of its large unary responses gets no further ones; other callers are served."""

    async def script(visit: Visit) -> None:
        await visit.answer(LARGE if b"audio" in visit.body else reply())

    asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=AUDIO.inputs)
    framed = message(asked.SerializeToString())
    no_window = struct.pack(">HI", 4, 0)
    async with scripted(script) as (served, _):
        async with Connection.open(served.app.target, settings=no_window) as connection:
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
            assert await served.stub.CreateEmbeddingUnary(asked, timeout=60).code() is grpc.StatusCode.OK
        async with Connection.open(served.app.target) as connection:
            await connection.send(call(UNARY, 1), frame(http2.DATA, framed, flags=1, stream=1))
            assert await connection.until(http2.DATA) is not None
