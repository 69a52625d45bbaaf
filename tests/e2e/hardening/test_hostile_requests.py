"""Garbage, unknown methods, oversized metadata and messages, and floods of calls."""

import asyncio
import contextlib
import gzip
import random

import grpc
import pytest

from tests.e2e.hardening.support import RAW, SERVICE, TEXT, UNARY, is_well
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


async def test_garbage_does_not_affect_other_connections(served: Served) -> None:
    """Connections that do not speak HTTP/2 are closed, and other connections are served."""
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
    """Unknown methods are UNIMPLEMENTED, and their names are in no metric."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(path, **RAW)(b"", timeout=60)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "grpc_server_started_total{" not in served.metrics()


async def test_metadata_size_limit(served: Served) -> None:
    """Metadata of the usual size is always accepted; metadata over the limit is always rejected, with the reason."""
    for _ in range(20):
        fits = served.stub.CreateEmbeddingUnary(TEXT, metadata=[("traces", "x" * 12_000)], timeout=60)
        too_much = served.stub.CreateEmbeddingUnary(TEXT, metadata=[("traces", "x" * 17_000)], timeout=60)
        assert await fits.code() is grpc.StatusCode.OK
        assert await too_much.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_compressed_requests_are_limited_by_their_decompressed_size() -> None:
    """A small compressed request is answered; a decompression bomb is RESOURCE_EXHAUSTED and never held in memory."""
    bomb = message(gzip.compress(bytes(100 << 20), 1), compressed=True)
    async with ServerProcess.running() as server:
        small = server.stub.CreateEmbeddingUnary(TEXT, compression=grpc.Compression.Gzip, timeout=60)
        assert await small.code() is grpc.StatusCode.OK
        before = server.peak_memory()
        async with Connection.open(server.target) as connection:
            await connection.send(call(UNARY, 1, ("grpc-encoding", "gzip")))
            await connection.send(*[frame(0, bomb[at : at + 16384], stream=1) for at in range(0, len(bomb), 16384)])
            trailers = await connection.until(http2.HEADERS)
        assert trailers is not None
        assert b"grpc-status\x018" in trailers.payload
        assert server.peak_memory() - before < 48 << 20


async def test_calls_that_are_reset_at_once_leak_nothing() -> None:
    """Thousands of calls that are begun and reset cost little memory, are limited, and delay no other call."""
    async with ServerProcess.running() as server:
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=60)
        before = server.peak_memory()
        async with Connection.open(server.target) as connection:
            reading = asyncio.create_task(connection.until(http2.GOAWAY))
            for first in range(1, 40_001, 200):
                resets = [
                    call(UNARY, stream) + frame(3, b"\0\0\0\x08", stream=stream)
                    for stream in range(first, first + 200, 2)
                ]
                await connection.send(*resets)
            assert await server.stub.CreateEmbeddingUnary(TEXT, timeout=60).code() is grpc.StatusCode.OK
            reading.cancel()
        assert server.peak_memory() - before < 64 << 20


async def test_bursts_within_the_limits_are_answered(scripted: Scripted) -> None:
    """Calls beyond a connection's concurrent streams wait in the client; calls after cancelled ones are accepted."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply())

    async with scripted(script, concurrency_queue_per_modality=10_000) as (served, _):
        for _ in range(2):
            cancelled = [served.stub.CreateEmbeddingUnary(TEXT, timeout=150) for _ in range(500)]
            await asyncio.sleep(0.02)
            for one in cancelled:
                one.cancel()
            burst = [served.stub.CreateEmbeddingUnary(TEXT, timeout=150) for _ in range(1500)]
            assert {await one.code() for one in burst} == {grpc.StatusCode.OK}
