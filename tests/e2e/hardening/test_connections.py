"""Silent, lost, too many and expired connections, and pings."""

import asyncio
import collections
import contextlib
import json
import time
from typing import Any

import grpc
import pytest

from embedwire_server.rpc.server_options import ServerOptions
from tests.e2e.hardening.support import AUDIO, TEXT, UNARY, bare, is_well
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, reply


async def test_silent_connections_are_closed() -> None:
    """A connection that sends nothing is closed after the handshake timeout."""
    async with bare(ServerOptions(handshake_timeout=0.3)) as (target, _):
        began = time.monotonic()
        async with http2.tcp(target) as (reader, _):
            while await asyncio.wait_for(reader.read(1 << 16), 20):
                pass

    assert time.monotonic() - began > 0.2


async def test_lost_connections_are_closed() -> None:
    """A connection that acknowledges no ping is closed."""
    rules = ServerOptions(keepalive_time=0.3, ping_timeout=0.2)
    async with bare(rules) as (target, _), Connection.open(target) as connection:
        assert await asyncio.wait_for(connection.until(http2.PING), 20) is not None
        while await asyncio.wait_for(connection.next(), 20) is not None:
            pass


async def test_a_late_ping_acknowledgement_ends_no_connection() -> None:
    """An acknowledgement delayed by the caller's own data on a slow link may take longer than the ping timeout."""
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


async def test_connections_leave_file_descriptors_for_others() -> None:
    """With connections up to the process's limit, metrics can be scraped and existing connections are served."""
    async with ServerProcess.running(files=256) as server, contextlib.AsyncExitStack() as connections:
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=60)
        for _ in range(300):
            await connections.enter_async_context(http2.tcp(server.target))
        assert await server.stub.CreateEmbeddingUnary(TEXT, timeout=60).code() is grpc.StatusCode.OK
        assert "embedwire_build_info" in await asyncio.to_thread(server.metrics)


@pytest.mark.parametrize(("pings", "pause"), [(50, 0.0), (100, 0.001), (10, 0.02), (100_000, 0.0)])
async def test_pings_do_not_end_calls(scripted: Scripted, pings: int, pause: float) -> None:
    """Pings at any interval are acknowledged, and a call whose upstream is silent continues."""
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
    """Connections that expire every second under load cost no call, and long calls outlive their maximum age."""

    async def script(visit: Visit) -> None:
        if b"audio" not in visit.body:
            await visit.answer(reply())
            return
        body = json.dumps(reply("audio_embedding", segments=30)).encode()
        await visit.head(length=len(body))
        for at in range(0, len(body), len(body) // 30):
            await asyncio.sleep(0.1)  # not after the last one: the connection then serves the next call
            await visit.send(body[at : at + len(body) // 30])

    async with scripted(script, server_max_connection_age=1) as (served, _):
        long = [asyncio.ensure_future(_take(served.stub.CreateEmbedding(AUDIO, timeout=30))) for _ in range(4)]
        codes: collections.Counter[grpc.StatusCode] = collections.Counter()

        async def load() -> None:
            while not all(one.done() for one in long):
                codes[await served.stub.CreateEmbeddingUnary(TEXT, timeout=60).code()] += 1

        await asyncio.gather(*[load() for _ in range(8)])
        assert [len(await one) for one in long] == [31] * 4

    assert set(codes) == {grpc.StatusCode.OK}


async def _take(stream: Any) -> list[Any]:
    return [event async for event in stream]
