"""Request bodies of retries: each attempt sends the complete body."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.policies.support import Steps, answered, ok, refused
from tests.support.messages import failed, file_input, request, results, text_input, upload_input
from tests.support.serving import Scripted, Serve, Served
from tests.support.tcp_server import tcp_server
from tests.support.upstreams import Visit

LARGE = 12 << 20  # more than all buffers between two sockets hold


class Cutting:
    """An upstream that reads that many bytes of the first requests and resets the connection; later it answers."""

    def __init__(self, *takes: int) -> None:
        self.takes = list(takes)
        self.bodies: list[bytes] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        async with tcp_server(self._serve, limit=1 << 25) as port:
            yield f"http://127.0.0.1:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if self.takes:
            self.bodies.append(await reader.readexactly(self.takes.pop(0)))
            writer.transport.abort()
            return
        self.bodies.append(await reader.readexactly(length))
        visit = Visit("/embed", {}, self.bodies[-1], reader, writer, asyncio.Event())
        await ok(visit)
        writer.close()
        await writer.wait_closed()


def without_boundary(body: bytes) -> bytes:
    """A multipart body without its boundary, which differs in each attempt."""
    return body.replace(body.partition(b"\r\n")[0], b"--")


async def upload(served: Served, data: bytes, sizes: int = 256 << 10) -> pb.InputResult:
    async def messages() -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
        asked = request(upload_input("audio", file_name="a.wav"))
        yield pb.CreateEmbeddingFromUploadRequest(request=asked)
        for start in range(0, len(data), sizes):
            chunk = pb.UploadChunk(data=data[start : start + sizes], last=start + sizes >= len(data))
            yield pb.CreateEmbeddingFromUploadRequest(chunk=chunk)

    events = [event async for event in served.stub.CreateEmbeddingFromUpload(messages(), timeout=30)]
    return results(events)[0]


DATA = bytes(range(256)) * (3 << 12)


@pytest.mark.parametrize("way", ["text", "file", "upload in memory", "upload on disk"])
async def test_each_attempt_sends_the_complete_body(scripted: Scripted, way: str) -> None:
    """Each attempt sends the same complete body, whether the content is in memory or on disk."""
    async with scripted(Steps(503, 502)) as (served, upstream):
        if way.startswith("upload"):
            result = await upload(served, DATA if way.endswith("disk") else DATA[:1000])
        else:
            result = await answered(
                served, text_input("ä fox") if way == "text" else file_input("image", DATA, "a.png")
            )
    bodies = [without_boundary(visit.body) for visit in upstream.visits]

    assert result.attempts == 3
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert {"text": "ä fox".encode(), "file": DATA, "upload on disk": DATA}.get(way, DATA[:1000]) in bodies[0]


@pytest.mark.parametrize("takes", [[0], [100_000], [100_000, 1_000_000]])
async def test_a_body_that_was_sent_in_part(serve: Serve, takes: list[int]) -> None:
    """A connection that breaks in the middle of a body is retried with the complete body."""
    data = bytes(range(256)) * (LARGE >> 8)
    cutting = Cutting(*takes)
    async with cutting.running() as url, serve(upstream=url) as served:
        result = await answered(served, file_input("audio", data, "a.wav"))
        assert served.metric("embedwire_upstream_requests_total") == len(takes) + 1

    assert result.attempts == len(takes) + 1
    *parts, whole = map(without_boundary, cutting.bodies)
    assert data in whole
    for part in parts[1:]:
        assert whole.startswith(part[:50_000])


async def test_an_upload_that_breaks_off_in_each_attempt(serve: Serve) -> None:
    """Three attempts that break off fail the call."""
    cutting = Cutting(*[100_000] * 9)
    async with cutting.running() as url, serve(upstream=url) as served:
        failure = failed(await refused(served, file_input("audio", b"x" * LARGE, "a.wav")))

    assert failure.info.reason == "UPSTREAM_UNAVAILABLE"
    assert failure.failure.attempts == 3
