"""Files of up to 4 GiB: on disk only, and sent in chunks."""

import asyncio
import contextlib
import json
import struct
import sys
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, request, results, text_input, upload_input
from tests.support.process import ServerProcess
from tests.support.serving import Serve, until

GIB, MIB = 1 << 30, 1 << 20
PIECE = bytes(256 << 10)
MOST_GROWTH = 24 * MIB
# In a process of its own, so that its memory does not count. It reads files and discards them.
UPSTREAM = Path(__file__).parents[2] / "benchmarks/asset_upstream.py"

Message = pb.CreateEmbeddingFromUploadRequest


def silence(size: int) -> Iterator[Message]:
    """The messages of a WAV file of this size, in stereo at 44,100 Hz."""
    rest = size - 44
    form = struct.pack("<IHHIIHH", 16, 1, 2, 44_100, 176_400, 4, 16)
    header = b"RIFF" + struct.pack("<I", size - 8) + b"WAVEfmt " + form + b"data" + struct.pack("<I", rest)
    yield Message(request=request(upload_input("audio", file_name="silence.wav", size_bytes=size)))
    yield Message(chunk=pb.UploadChunk(data=header))
    while rest:
        data, rest = PIECE[:rest], max(0, rest - len(PIECE))
        yield Message(chunk=pb.UploadChunk(data=data, last=not rest))


@contextlib.asynccontextmanager
async def upstream(directory: Path) -> AsyncGenerator[str]:
    """Run the upstream; yield its base URL."""
    result = directory / "result.json"
    result.write_text("{}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, UPSTREAM, "0", result, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        yield f"http://127.0.0.1:{line.split()[-1].decode()}"
    finally:
        process.kill()
        await process.wait()


def received(base_url: str) -> int:
    """The bytes of files that the upstream has received."""
    with urllib.request.urlopen(f"{base_url}/counts", timeout=60) as page:
        count: int = json.load(page)["received"]
        return count


async def uploaded(server: ServerProcess, size: int) -> list[Any]:
    """The answer to the file."""
    return [event async for event in server.stub.CreateEmbeddingFromUpload(silence(size), timeout=300)]


async def largest_spool(server: ServerProcess, ended: asyncio.Event) -> int:
    """The largest size of an open deleted file of the server until the event."""
    largest = 0
    while not ended.is_set():
        largest = max(largest, *server.spooled(), 0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.05)
    return largest


async def test_a_gibibyte_is_on_disk_only(tmp_path: Path) -> None:
    """1 GiB is spooled to disk and reaches the upstream as an asset in chunks; memory stays flat, disk is released."""
    spool = tmp_path / "spool"
    spool.mkdir()
    async with (
        upstream(tmp_path) as base_url,
        ServerProcess.running(
            key="k", upstream=base_url, uploads_spool_dir=spool, request_limits_upload_bytes=4 * GIB
        ) as server,
    ):
        await uploaded(server, 110 * MIB)  # longer than ten minutes: a task as well
        before, ended = server.peak_memory(), asyncio.Event()
        watching = asyncio.ensure_future(largest_spool(server, ended))
        responses = await uploaded(server, GIB)
        ended.set()

        assert results(responses)[0].segment_count == 1
        assert received(base_url) >= GIB
        assert server.peak_memory() - before < MOST_GROWTH
        assert await watching >= GIB - 2 * MIB
        await until(lambda: not server.spooled())
        assert list(spool.iterdir()) == []


async def test_texts_are_answered_while_a_file_is_sent(tmp_path: Path) -> None:
    """Texts are answered while 300 MB are received and sent on in chunks."""
    async with (
        upstream(tmp_path) as base_url,
        ServerProcess.running(
            key="k", upstream=base_url, uploads_spool_dir=tmp_path, request_limits_upload_bytes=4 * GIB
        ) as server,
    ):
        sending = asyncio.ensure_future(uploaded(server, 300 * MIB))
        answered = 0
        while not sending.done():
            events = [event async for event in server.stub.CreateEmbedding(request(text_input()), timeout=60)]
            assert results(events)[0].segment_count == 1
            answered += 1
        assert results(await sending)[0].segment_count == 1
        assert answered > 1


@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_file_above_the_limit(serve: Serve, *, is_declared: bool) -> None:
    """The error names the limit, its setting, and a URL or an asset as the alternatives."""
    size = 4 * MIB
    source = {"size_bytes": size} if is_declared else {}
    async with serve(request_limits_upload_bytes=3 * MIB) as served:
        sent = [Message(request=request(upload_input("audio", **source)))]
        sent += [Message(chunk=pb.UploadChunk(data=bytes(size), last=True))]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbeddingFromUpload(iter(sent), timeout=60):
                pass
    failure = failed(caught.value)
    ((field, text),) = failure.fields.items()

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field.removesuffix(".size_bytes") == "request.inputs[0].audio.source.upload"
    for words in (str(3 * MIB), "request_limits.upload_bytes", "url", "asset"):
        assert words in text
