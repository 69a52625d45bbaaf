"""Relays between the gateway and the upstream: a TLS server and a forward proxy.

    python -m benchmarks.relay tls PORT UPSTREAM_PORT CERTIFICATE
    python -m benchmarks.relay proxy PORT

Both pass bytes on unchanged; the proxy parses the head of a connection's first request. The
proxy takes CONNECT and the absolute form, for one host name, which no name server resolves: a connection to that host
that does not go through the proxy cannot succeed. It prints one line for each connection that it accepts.
"""

import asyncio
import ssl
import sys
import urllib.parse
from collections.abc import Callable
from typing import cast

import uvloop

HOST = "upstream.test"  # RFC 6761 reserves .test
HEAD_BYTES = 16 << 10
_END = b"\r\n\r\n"


class Side(asyncio.Protocol):
    """One of two connections; its data go to the other, which applies back-pressure."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @property
    def outlet(self) -> asyncio.Transport | None:
        """Return the transport of the other connection, while there is one."""
        return self.other.transport if self.other is not None else None

    def data_received(self, data: bytes) -> None:
        if self.outlet is not None:
            self.outlet.write(data)

    def pause_writing(self) -> None:
        if self.outlet is not None:
            self.outlet.pause_reading()

    def resume_writing(self) -> None:
        if self.outlet is not None:
            self.outlet.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        if self.outlet is not None:
            self.outlet.close()

    async def connect(self, port: int, first: bytes) -> None:
        """Open the connection to the upstream and send the data received so far."""
        assert self.transport is not None
        self.transport.pause_reading()
        try:
            _, other = await asyncio.get_running_loop().create_connection(Side, "127.0.0.1", port)
        except OSError:
            self._refuse("502 Bad Gateway")
            return
        self.other, other.other = other, self
        assert other.transport is not None
        if self.transport is None:
            other.transport.close()
            return
        other.transport.write(first)
        self.transport.resume_reading()

    def _refuse(self, status: str) -> None:
        if self.transport is not None:
            self.transport.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
            self.transport.close()


class TlsSide(Side):
    """A connection to the TLS server.

    Args:
        port: of the upstream, in plaintext.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.ensure_future(self.connect(self._port, b""))


class ProxySide(Side):
    """A connection to the proxy."""

    def __init__(self) -> None:
        super().__init__()
        self._head = b""
        self._connecting: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._head += data
        if _END in self._head:
            self._begin(self._head)
        elif len(self._head) > HEAD_BYTES:
            self._refuse("431 Request Header Fields Too Large")

    def _begin(self, head: bytes) -> None:
        method, target, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        url = urllib.parse.urlsplit(f"//{target}" if method == "CONNECT" else target)
        print(method, target, flush=True)  # noqa: T201 - evidence that the proxy was used
        if url.hostname != HOST or url.port is None:
            self._refuse("502 Bad Gateway")
            return
        if method == "CONNECT":
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            head = head.partition(_END)[2]
        # A server has to take the absolute form as well (RFC 9112, 3.2.2), so nothing is rewritten.
        self._connecting = asyncio.ensure_future(self.connect(url.port, head))


async def serve(port: int, side: Callable[[], Side], tls: ssl.SSLContext | None = None) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(side, "127.0.0.1", port, ssl=tls, backlog=4096)
    await server.serve_forever()


async def main(kind: str, port: str, *words: str) -> None:
    """Run one of the two."""
    if kind == "proxy":
        await serve(int(port), ProxySide)
    upstream_port, certificate = words
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    await serve(int(port), lambda: TlsSide(int(upstream_port)), tls)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
