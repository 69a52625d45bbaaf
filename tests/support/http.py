"""A client of the HTTP port for metrics, probes and the status page."""

import contextlib
import http.client
import socket
from typing import NamedTuple


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(port: int, method: str = "GET", path: str = "/metrics", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def port_of(url: str) -> int:
    """The port of a URL such as that of the metrics."""
    return int(url.rpartition(":")[2].partition("/")[0])


def connected(port: int, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(sent)
    return client


def received(client: socket.socket) -> bytes:
    """All bytes until the end of the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            found += piece
    return found
