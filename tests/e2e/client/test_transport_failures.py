"""Failures of the transport, and of servers that are no Embedwire."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from embedwire import Audio, EmbedwireError, Text, TransportError
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import PICTURE, Connect, InTheLoop, InThreads, connecting
from tests.e2e.client.services import Context, segment, service
from tests.support.serving import Served


async def test_unimplemented(connect: Connect) -> None:
    """UNIMPLEMENTED is a TransportError: the target is another or an older server."""
    async with service() as target, connect(target) as client:
        calls = (
            client.embed("m", Text("a"), timeout=10),
            client.embed("m", PICTURE, timeout=10),
            client.models(),
        )
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, TransportError)
            assert (error.code, error.reason) == ("UNIMPLEMENTED", "")


@pytest.mark.parametrize("kind", [InThreads, InTheLoop])
async def test_a_server_that_refuses_an_upload_early(kind: type[InThreads] | type[InTheLoop]) -> None:
    """A status that arrives while a file is still being sent is always the one that is raised."""
    found = set()
    async with service() as target:
        for _ in range(15):
            async with connecting(kind)(target) as client:
                with pytest.raises(EmbedwireError) as caught:
                    await client.embed("m", Audio(chunks=[b"a"]), timeout=10)
                found.add(caught.value.code)
    assert found == {"UNIMPLEMENTED"}


async def test_connection_refused(connect: Connect) -> None:
    """A port without a server is TransportError, which is a ConnectionError and an OSError."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        async with connect(f"127.0.0.1:{taken.getsockname()[1]}") as client:
            for call in (
                client.embed("m", Text("a"), timeout=10),
                client.embed("m", PICTURE, timeout=10),
                client.embed("m", Audio(chunks=[b"a"]), timeout=10),
                client.models(timeout=10),
            ):
                with pytest.raises(TransportError) as caught:
                    await call
                assert isinstance(caught.value, ConnectionError)
                assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "")
                assert caught.value.request_id


async def test_a_message_over_the_limit(connect: Connect, served: Served) -> None:
    """A message that gRPC itself rejects as too large is a TransportError with the code of gRPC."""
    async with connect(served.app.target) as client:
        with pytest.raises(TransportError) as caught:
            await client.embed("marengo3.0", [Text("x" * (16 << 20)), Text("x" * 1000)], timeout=20)
    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "")


async def test_a_connection_that_breaks_in_an_answer(connect: Connect) -> None:
    """A connection that breaks in the middle of an answer is an EmbedwireError with the status code of gRPC."""

    async def create(_: Any, __: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()
        await asyncio.Event().wait()

    async with contextlib.AsyncExitStack() as server:
        target = await server.enter_async_context(service(CreateEmbedding=create))
        async with connect(target) as client:
            events = await client.stream("m", Text("a"), timeout=20)
            await anext(events)
            reading = asyncio.create_task(anext(events))
            await server.aclose()
            done, _ = await asyncio.wait([reading], timeout=10)
    assert done
    assert isinstance(reading.exception(), EmbedwireError)
