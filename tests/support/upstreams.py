"""Scripted upstream: an HTTP server on port 0 whose responses a test writes byte by byte."""

import asyncio
import contextlib
import dataclasses
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from tests.support.tcp_server import tcp_server

Script = Callable[["Visit"], Awaitable[None]]


@dataclasses.dataclass
class Visit:
    """A completely received request, and the connection that waits for its response."""

    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: asyncio.Event

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, length: int | None = None, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {length}"] if length is not None else ["Connection: close"]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def answer(self, body: bytes | dict[str, Any], status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.head(status, len(data), **headers)
        await self.send(data)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def gone(self) -> None:
        """Wait until the peer has closed the connection."""
        await self.closed.wait()


class ScriptedHttpServer:
    """Answers each request by the script, and records every visit."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.visits: list[Visit] = []
        self.base_url = ""

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncGenerator["ScriptedHttpServer"]:
        async with tcp_server(self.serve, tls=tls, limit=1 << 24) as port:
            self.base_url = f"http://127.0.0.1:{port}"
            yield self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while (visit := await _read(reader, writer)) is not None:
                self.visits.append(visit)
                watch = asyncio.create_task(_watch(visit))
                try:
                    await self.script(visit)
                finally:
                    watch.cancel()
                    await asyncio.gather(watch, return_exceptions=True)
                if writer.is_closing() or visit.closed.is_set():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Visit | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Visit(head[0].split()[1], headers, body, reader, writer, asyncio.Event())


async def _watch(visit: Visit) -> None:
    with contextlib.suppress(ConnectionError):
        await visit.reader.read(1)  # no client pipelines: the next event is the end
    visit.closed.set()


def reply(name: str = "text_embedding", segments: int = 1, dimensions: int = 512, **more: Any) -> dict[str, Any]:
    """A good reply of the v1 endpoint."""
    members: list[dict[str, Any]] = [{"float": [0.5] * dimensions} for _ in range(segments)]
    if name == "audio_embedding":
        for index, member in enumerate(members):
            member |= {"start_offset_sec": index * 6, "end_offset_sec": index * 6 + 6, "embedding_option": "audio"}
    return {"model_name": "marengo3.0", name: {"segments": members, **more}}


async def answer(visit: Visit) -> None:
    """One segment of a text, the answer to each request."""
    await visit.answer(reply())


async def endless(visit: Visit) -> None:
    """A reply of audio segments that continues until its reader disconnects."""
    element = json.dumps({"float": [0.123456789] * 512, "start_offset_sec": 0, "embedding_option": "audio"}).encode()
    await visit.head()
    await visit.send(b'{"audio_embedding":{"segments":[' + element)
    while not visit.closed.is_set():
        await visit.send(b"," + element)
