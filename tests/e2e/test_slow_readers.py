"""Replies to clients that read slowly, while the server closes their connection."""

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support import http2
from tests.support.messages import request, url_input
from tests.support.process import ServerProcess
from tests.support.serving import EVERYWHERE, Scripted, until
from tests.support.upstreams import Visit, reply

STREAM, UNARY = (f"/embedwire.v1.EmbeddingService/CreateEmbedding{kind}" for kind in ("", "Unary"))
AUDIO: dict[str, Any] = {
    STREAM: request(url_input("audio", "http://media.test/a.mp3"), max_retries=0),
    UNARY: pb.CreateEmbeddingUnaryRequest(
        model_name="marengo3.0", inputs=[url_input("audio", "http://media.test/a.mp3")]
    ),
}
# Bytes that the client's host accepts, and bytes that it takes before it sends the next frame.
RECEIVE_BUFFER, STEP = 32 << 10, 8 << 10
SEGMENTS = 1_800  # 2 KiB each: a unary reply may have 4 MiB
HELD_SECONDS = 1.0  # for the server to close the connection, which it must not do
separate_status = pytest.mark.skipif(bool(EVERYWHERE), reason="the public API sends a unary reply with its status")


class SlowReader:
    """A client whose flow-control windows never close, and which sends a frame after each step that it has read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bytes = bytearray()
        self.goaways = 0
        self.data: dict[int, int] = {}
        self.ended: set[int] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, target: str) -> AsyncGenerator["SlowReader"]:
        host, _, port = target.rpartition(":")
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            connection.settimeout(0)
            await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
            reader = cls(connection)
            settings = struct.pack(">HI", http2.INITIAL_WINDOW_SIZE, (1 << 31) - 1)
            await reader.send(http2.PREFACE, http2.frame(http2.SETTINGS, settings), _window_update(1 << 30))
            yield reader

    async def call(self, method: str, stream: int) -> None:
        body = http2.message(AUDIO[method].SerializeToString())
        await self.send(
            http2.call(method, stream), http2.frame(http2.DATA, body, flags=http2.END_STREAM, stream=stream)
        )

    async def send(self, *frames: bytes) -> None:
        """Send frames; a connection that the server has closed does not matter, since there is still data to read."""
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._connection, b"".join(frames))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read until a condition is true."""
        loop = asyncio.get_running_loop()
        while not condition():
            await self.send(_window_update(1))
            data = await asyncio.wait_for(loop.sock_recv(self._connection, STEP), 30)
            if not data:
                return
            self._bytes += data
            await self._take_frames()

    async def _take_frames(self) -> None:
        while len(self._bytes) >= 9 and len(self._bytes) >= (end := 9 + int.from_bytes(self._bytes[:3], "big")):
            kind, flags, stream = self._bytes[3], self._bytes[4], int.from_bytes(self._bytes[5:9], "big")
            payload, self._bytes = bytes(self._bytes[9:end]), self._bytes[end:]
            if kind == http2.DATA:
                self.data[stream] = self.data.get(stream, 0) + len(payload)
            elif kind == http2.HEADERS and flags & http2.END_STREAM:
                self.ended.add(stream)
            elif kind == http2.PING and not flags:
                await self.send(http2.frame(http2.PING, payload, flags=http2.ACK))
            self.goaways += kind == http2.GOAWAY


def _window_update(increment: int) -> bytes:
    return http2.frame(http2.WINDOW_UPDATE, struct.pack(">I", increment))


class Upstream:
    """Answers with many segments, after `go_on` has been set."""

    def __init__(self, segments: int) -> None:
        self._segments = segments
        self.visits = 0
        self.go_on = asyncio.Event()

    async def script(self, visit: Visit) -> None:
        self.visits += 1
        await self.go_on.wait()
        await visit.answer(reply("audio_embedding", segments=self._segments))


@pytest.mark.parametrize(
    ("method", "calls", "segments"),
    [
        pytest.param(STREAM, 1, SEGMENTS, id="stream"),
        pytest.param(STREAM, 30, 20, id="streams"),
        pytest.param(UNARY, 1, SEGMENTS, id="unary", marks=separate_status),
        pytest.param(UNARY, 30, 20, id="unaries", marks=separate_status),
    ],
)
async def test_a_drain_delivers_replies_to_a_slow_reader(method: str, calls: int, segments: int) -> None:
    """A client that reads nothing until the replies are complete gets all of them, and the server exits with 0."""
    upstream = Upstream(segments)
    async with (
        ServerProcess.running(upstream.script, shutdown_grace_period=30) as server,
        SlowReader.connected(server.target) as reader,
    ):
        streams = set(range(1, 2 * calls, 2))
        for stream in streams:
            await reader.call(method, stream)
        await until(lambda: upstream.visits == calls)
        ending = asyncio.ensure_future(server.terminate())
        await reader.until(lambda: reader.goaways == 2)
        upstream.go_on.set()
        await asyncio.wait([ending], timeout=HELD_SECONDS)
        await reader.until(lambda: reader.ended == streams)
        assert await ending == 0

    assert reader.ended == streams
    assert all(size > segments * 2048 for size in reader.data.values())
    assert sum("code=OK" in line and "reason=OK" in line for line in server.log) == calls


@pytest.mark.parametrize(
    "method", [pytest.param(STREAM, id="stream"), pytest.param(UNARY, id="unary", marks=separate_status)]
)
async def test_an_old_connection_delivers_its_last_reply(scripted: Scripted, method: str) -> None:
    """A connection that has reached its maximum age delivers the reply of its last call to a slow reader."""
    upstream = Upstream(SEGMENTS)
    async with (
        scripted(upstream.script, server_max_connection_age=1) as (served, _),
        SlowReader.connected(served.app.target) as reader,
    ):
        await reader.call(method, 1)
        await until(lambda: upstream.visits == 1)
        await reader.until(lambda: reader.goaways == 2)
        await asyncio.sleep(1)  # the server counts the age from the first call
        upstream.go_on.set()
        await asyncio.sleep(HELD_SECONDS)
        await reader.until(lambda: reader.ended == {1})

    assert reader.ended == {1}
    assert reader.data[1] > SEGMENTS * 2048


async def test_a_reply_that_is_never_read_delays_the_drain_for_the_grace() -> None:
    """A client that reads nothing of a complete reply delays the exit for the grace period at most."""
    upstream = Upstream(SEGMENTS)
    async with (
        ServerProcess.running(upstream.script, shutdown_grace_period=1) as server,
        SlowReader.connected(server.target) as reader,
    ):
        await reader.call(STREAM, 1)
        await until(lambda: upstream.visits == 1)
        server.process.send_signal(signal.SIGTERM)
        upstream.go_on.set()
        assert await server.ended(20) == 0


async def test_a_unary_reply_in_a_drain_is_complete() -> None:
    """A unary call that ends in a drain has its reply, the status OK and the trailers of any other call."""
    upstream = Upstream(SEGMENTS)
    async with ServerProcess.running(upstream.script, shutdown_grace_period=30) as server:
        call = server.stub.CreateEmbeddingUnary(AUDIO[UNARY], timeout=60, metadata=(("x-request-id", "of-a-drain"),))
        await until(lambda: upstream.visits == 1)
        ending = asyncio.ensure_future(server.terminate())
        await until(lambda: any("draining" in line for line in server.log))
        upstream.go_on.set()
        answer = await call
        assert await call.code() is grpc.StatusCode.OK
        trailers = await call.trailing_metadata()
        assert await ending == 0

    assert len(answer.embeddings[0].segments) == SEGMENTS
    assert (trailers["x-request-id"], trailers["embedwire-attempts"]) == ("of-a-drain", "1")
    assert sum("code=OK" in line and "request_id=of-a-drain" in line for line in server.log) == 1
    assert not any("error" in line for line in server.log)
