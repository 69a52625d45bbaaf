"""Uploads that end before their file does."""

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwire import AsyncClient, Audio, Image, RequestError, Text
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from tests.e2e.client.callers import Connect
from tests.e2e.client.services import Context, result, service, uploaded
from tests.e2e.client.uploads import MIB, SMALL, UPLOAD, calls, source, written
from tests.support.serving import Serve, Served, until


async def test_an_answered_file_is_not_read_further(connect: Connect) -> None:
    """Once an input has its result, the rest of its file is not read, and the next file is sent completely."""
    large, small = source(bytes(64 * MIB)), source(SMALL)
    received = [0, 0]
    last = [False, False]

    async def upload(messages: Any, _: Context) -> AsyncGenerator[pb.CreateEmbeddingFromUploadResponse]:
        await anext(messages)
        failed = pb.Failure(code=3, reason=error_reason_pb2.ERROR_REASON_CONTENT_TOO_LARGE)
        yield uploaded(result(0, failure=failed))
        async for message in messages:
            received[message.chunk.input_index] += len(message.chunk.data)
            last[message.chunk.input_index] = message.chunk.last
        yield uploaded(result(1))

    async with service(CreateEmbeddingFromUpload=upload) as target, connect(target) as client:
        first, second = await client.embed("m", [Audio(file=large), Audio(file=small)], timeout=30)

    assert first.failure is not None
    assert second.failure is None
    assert large.taken < 32 * MIB
    assert received[0] <= large.taken
    assert received[1] == len(SMALL)
    assert last == [True, True]


async def test_a_cancelled_upload_closes_its_file(served: Served, tmp_path: Path) -> None:
    """Cancelling a task in the middle of an upload closes the file that the client opened."""
    path = written(tmp_path / "sound.mp3", bytes(8 * MIB))
    stuck = threading.Event()

    def held_back() -> Iterator[bytes]:
        yield b"a"
        stuck.wait(20)

    async with AsyncClient(served.app.target) as client:
        asked = [Audio(path=path), Audio(chunks=held_back())]
        task = asyncio.create_task(client.embed("marengo3.0", asked, timeout=30))
        await until(lambda: calls(served) == {UPLOAD: 1})
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        stuck.set()
        await until(lambda: not opened(path))
        await until(lambda: served.metric("embedwire_requests_total", reason="CANCELLED") == 1)


def opened(path: Path) -> bool:
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(link.readlink())
    return path in links


async def test_ending_a_stream_early_stops_the_upload(connect: Connect, serve: Serve) -> None:
    """Ending a stream in the middle of an upload stops the reading of the file."""
    source_ = source(bytes(64 * MIB))
    async with serve() as served, connect(served.app.target) as client:
        async with await client.stream("marengo3.0", [Text("a"), Audio(file=source_)], timeout=30) as events:
            await anext(events)
        await until(lambda: served.metric("embedwire_requests_total", reason="CANCELLED") == 1)
        read = source_.taken
        assert (await client.embed("marengo3.0", Text("a"), timeout=10)).failure is None
        assert source_.taken <= read + 2 * MIB
    assert read < 64 * MIB


async def test_a_device_is_not_read_into_memory(connect: Connect, served: Served) -> None:
    """An endless device that reports size 0 is uploaded chunk by chunk until the server ends the call."""
    async with connect(served.app.target) as client:
        with contextlib.closing(io.FileIO("/dev/zero")) as endless, pytest.raises(RequestError) as raised:
            await client.embed("marengo3.0", Image(file=endless), timeout=60)

    assert raised.value.reason == "CONTENT_TOO_LARGE"

    assert served.metric("grpc_server_started_total", grpc_method=UPLOAD) == 1
