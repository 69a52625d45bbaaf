"""An upstream in threads that writes bytes at exact moments, also while the event loop of the server is blocked.

Each text is `number N`, and its vector is N in every place: a test sees whose response a caller got.
"""

import contextlib
import dataclasses
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Protocol

import grpc

from tests.support.messages import failed, request, results, segments, text_input

SECONDS = 20.0  # the maximum of every wait

Step = bytes | threading.Event | Callable[[], object] | None


@dataclasses.dataclass(frozen=True)
class Request:
    """A received request: the number in its text, and its indexes of request and connection."""

    number: int
    connection: int
    order: int


Script = Callable[[Request], Iterable[Step]]


def vector(number: int) -> bytes:
    """The body of the response that belongs to this text."""
    segments = [{"float": [float(number)] * 512}]
    return json.dumps({"model_name": "marengo3.0", "text_embedding": {"segments": segments}}).encode()


def http(body: bytes, status: str = "200 OK", *headers: str, version: str = "1.1") -> bytes:
    """A response with Content-Length."""
    lines = [f"HTTP/{version} {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(body: bytes, *headers: str, size: int = 1000, extension: str = "", trailer: bytes = b"") -> bytes:
    """A response in chunks."""
    lines = ["HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked", "", ""]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension.encode(), piece) for piece in pieces)
    return "\r\n".join(lines).encode() + chunks + b"0\r\n" + trailer + b"\r\n"


class RawUpstream:
    """Answers each request by the steps of its script, connection by connection.

    A step is bytes to send, an event to wait for, something to call, or None to close the connection.

    Args:
        script: asked for the steps of each request.
        tls: the context of an upstream with TLS.

    Attributes:
        reads_bodies: whether it reads a request to its end before it answers.
        closed: released for each connection that has ended.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.reads_bodies = True
        self.closed = threading.Semaphore(0)
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in self.requests]

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """The base URL."""
        with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
            self._sockets.append(server)
            accepting = threading.Thread(target=self._accept, args=(server,), daemon=True)
            accepting.start()
            try:
                scheme = "https" if self._tls else "http"
                yield f"{scheme}://localhost:{server.getsockname()[1]}"
            finally:
                for one in self._sockets:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                accepting.join(SECONDS)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(accepted)
            self.connections += 1
            threading.Thread(target=self._serve, args=(accepted, self.connections), daemon=True).start()

    def _serve(self, accepted: socket.socket, connection: int) -> None:
        with contextlib.suppress(OSError), accepted:
            connected = self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted
            with connected, connected.makefile("rb") as file:
                order = 0
                while (number := _read(file, with_body=self.reads_bodies)) is not None:
                    asked = Request(number, connection, order)
                    with self._lock:
                        self.requests.append(asked)
                    if not _play(connected, self.script(asked)):
                        break
                    order += 1
        self.closed.release()


def _read(file: BinaryIO, *, with_body: bool) -> int | None:
    length = 0
    for line in file:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if line == b"\r\n":
            body = file.read(length) if with_body else b""
            found = re.search(rb"number (\d+)", body)
            return int(found[1]) if found else -1
    return None


def _play(connected: socket.socket, steps: Iterable[Step]) -> bool:
    for step in steps:
        if step is None:
            return False
        if isinstance(step, bytes):
            with contextlib.suppress(OSError):  # the peer may have closed the connection, as it should
                connected.sendall(step)
        elif isinstance(step, threading.Event):
            step.wait(SECONDS)
        else:
            step()
    return True


class Server(Protocol):
    """An object with a stub."""

    @property
    def stub(self) -> Any: ...


async def embed(served: Server, number: int, max_retries: int | None = None) -> int | str:
    """The number in the vector that this call returned, or the reason of its failure."""
    asked = request(text_input(f"number {number}"))
    if max_retries is not None:
        asked.max_retries = max_retries
    try:
        events = [event async for event in served.stub.CreateEmbedding(asked, timeout=SECONDS)]
    except grpc.aio.AioRpcError as error:
        return str(failed(error).info.reason)
    values = set(segments(events)[0].vector.float_values.values)
    assert len(values) == 1
    assert not results(events)[0].HasField("failure")
    return int(values.pop())
