"""An upstream with assets and tasks that counts the bytes of files and discards them.

    python asset_upstream.py PORT RESULT

It answers the v2 API, and texts of the v1 API. An asset is ready as soon as its file has arrived, directly or in
chunks. A task that is created has one segment; the task `long` has the file RESULT as its response. GET /counts returns
the number of received requests and of answers, the time (CLOCK_MONOTONIC, ns) of the last answer, and the bytes of
bodies with a file. It runs as a script as well, without the other modules of the benchmark.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

CHUNK_BYTES = 5 << 20  # of an upload in chunks, as the sandbox has it
LONG = "long"  # identifier of the task with the long result
DIMENSIONS = 512
URLS_AT_ONCE = 50
SMALL_BYTES = 1 << 20  # a larger body has a file

_ASSET = {"_id": "asset", "status": "ready", "filename": "file"}
_VECTOR = [0.03125] * DIMENSIONS
_SEGMENT = {
    "embedding": _VECTOR,
    "embedding_option": "audio",
    "embedding_scope": "clip",
    "start_sec": 0.0,
    "end_sec": 6.0,
}
_RESULT = {"_id": "short", "status": "ready", "data": [_SEGMENT]}
_TEXT = {"model_name": "marengo3.0", "text_embedding": {"segments": [{"float": _VECTOR}]}}


class Upstream:
    """State of all connections.

    Args:
        port: of the server, for the URLs of chunks.
        result: JSON with the result of the long task.
    """

    def __init__(self, port: int, result: bytes) -> None:
        self.counts = {"requests": 0, "answers": 0, "last": 0, "received": 0}
        self._port = port
        self._total_size = 0
        self._long = _response(HTTPStatus.OK, result)  # built once: it would delay other requests
        self._answers: list[tuple[bytes, str, Callable[[str, bytes], Any]]] = [
            (b"GET", "/counts", lambda *_: self.counts),
            (b"POST", "/embed", lambda *_: _TEXT),
            (b"POST", "/embed-v2", lambda *_: {"data": [_SEGMENT]}),
            (b"POST", "/embed-v2/tasks", lambda *_: _RESULT | {"status": "processing"}),
            (b"GET", r"/embed-v2/tasks/\w+", lambda *_: _RESULT),
            (b"POST", "/assets", lambda *_: _ASSET),
            (b"GET", r"/assets/\w+", lambda *_: _ASSET),
            (b"DELETE", r"/assets/\w+", lambda *_: b""),
            (b"GET", r"/assets\?.*", lambda *_: {"data": []}),
            (b"POST", "/assets/multipart-uploads", self._begin),
            (b"POST", "/assets/multipart-uploads/upload/presigned-urls", self._more),
            (b"PUT", r"/chunks/\d+", lambda *_: b""),
            (b"POST", "/assets/multipart-uploads/upload", self._end),
        ]

    def answer(self, method: bytes, target: str, body: bytes, size: int) -> bytes:
        """Return the whole response to a request, of whose body only a small one is given, and the size."""
        if target != "/counts":
            self.counts["requests"] += 1
            self.counts["received"] += size if size > SMALL_BYTES or method == b"PUT" else 0
            self.counts["answers"] += 1
            self.counts["last"] = time.monotonic_ns()
        if target == f"/embed-v2/tasks/{LONG}":
            return self._long
        for known, pattern, content in self._answers:
            if method == known and re.fullmatch(pattern, target):
                return _response(HTTPStatus.OK, content(target, body))
        return _response(HTTPStatus.NOT_FOUND, {"code": "not_found", "message": "There is no such path."})

    def _begin(self, _: str, body: bytes) -> dict[str, Any]:
        self._total_size = json.loads(body)["total_size"]
        urls = self._urls(1, 10)
        return {"upload_id": "upload", "asset_id": "asset", "chunk_size": CHUNK_BYTES, "upload_urls": urls}

    def _more(self, _: str, body: bytes) -> dict[str, Any]:
        wanted = json.loads(body)
        return {"upload_urls": self._urls(wanted["start"], min(wanted["count"], URLS_AT_ONCE))}

    def _end(self, _: str, body: bytes) -> dict[str, Any]:
        """Accept the report of all chunks.

        Raises:
            ValueError: their sizes are not those of the file.
        """
        if sum(chunk["chunk_size"] for chunk in json.loads(body)["completed_chunks"]) != self._total_size:
            raise ValueError("the chunks do not have the size of the file")
        return {"asset_id": "asset"}

    def _urls(self, start: int, count: int) -> list[dict[str, Any]]:
        last = min(start + count - 1, -(-self._total_size // CHUNK_BYTES))
        return [
            {"chunk_index": index, "url": f"http://127.0.0.1:{self._port}/chunks/{index}"}
            for index in range(start, last + 1)
        ]


class Connection(asyncio.Protocol):
    """A connection: one request after another."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._target, self._body, self._size = b"", b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport; called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; called by asyncio."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Add to the target of the request; called by the parser."""
        self._target += url

    def on_body(self, body: bytes) -> None:
        """Count a part of the body, and keep it if it is small; called by the parser."""
        self._size += len(body)
        if self._size <= SMALL_BYTES:
            self._body += body

    def on_message_complete(self) -> None:
        """Answer; called by the parser."""
        target, body, size = self._target.decode("ascii"), self._body, self._size
        self._target, self._body, self._size = b"", b"", 0
        assert self._transport is not None
        self._transport.write(self._upstream.answer(self._parser.get_method(), target, body, size))


def _response(status: HTTPStatus, content: Any) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = f'HTTP/1.1 {status} {status.phrase}\r\nETag: "proof"\r\nContent-Type: application/json\r\n'
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def main(port: str, result: str) -> None:
    """Serve until killed, and print a line when it accepts connections; port 0 is any free one, which is printed."""
    loop = asyncio.get_running_loop()
    content = await asyncio.to_thread(Path(result).read_bytes)
    upstreams: list[Upstream] = []
    server = await loop.create_server(lambda: Connection(upstreams[0]), "127.0.0.1", int(port))
    bound = server.sockets[0].getsockname()[1]
    upstreams.append(Upstream(bound, content))
    print(f"ready on {bound}", flush=True)  # noqa: T201 - read by the program that starts it
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # its transports do not copy what is written
        runner.run(main(*sys.argv[1:]))
