"""A server of this machine, and a forward proxy: tunnels by CONNECT, and requests in absolute form."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncGenerator

from tests.support.tcp_server import Serving, tcp_server

REFUSED = b"HTTP/1.1 %d Refused\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"


def listening(serve: Serving, context: ssl.SSLContext | None = None) -> contextlib.AbstractAsyncContextManager[int]:
    """A server and its port. A connection ends with its task."""

    async def serve_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    return tcp_server(serve_once, tls=context)


class ForwardProxy:
    """A proxy; it maps every name to this machine.

    Args:
        port: of the upstream, whatever the request names.
        user: the credentials that it requires, as `user:password`.
        answer: sent in place of a response to CONNECT; with b"" it does not answer.
        pieces: whether its response to CONNECT is sent byte by byte.
        context: for TLS to the proxy itself.
    """

    def __init__(
        self,
        port: int = 0,
        user: str = "",
        answer: bytes | None = None,
        *,
        pieces: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._upstream, self._user, self._answer, self._pieces = port, user, answer, pieces
        self._context = context
        self.heads: list[bytes] = []
        self.open = 0
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["ForwardProxy"]:
        async with listening(self._serve, self._context) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._answer_to(reader, writer)
        finally:
            self.open -= 1

    async def _answer_to(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        expected = b"Proxy-Authorization: Basic " + base64.b64encode(self._user.encode())
        if self._answer is not None:
            writer.write(self._answer)
            await reader.read()
        elif self._user and expected not in head:
            writer.write(REFUSED % 407)
            await writer.drain()
        else:
            await self._forward(head, reader, writer)

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        with contextlib.closing(upstream_writer):
            if head.startswith(b"CONNECT "):
                answer = (
                    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 Connected\r\nContent-Length: 3\r\n\r\n"
                )
                for index in range(0, len(answer), 1 if self._pieces else len(answer)):
                    writer.write(answer[index : index + (1 if self._pieces else len(answer))])
                    await asyncio.sleep(0)
            else:
                method, target, rest = head.split(b" ", 2)
                path = b"/" + target.split(b"/", 3)[3]
                upstream_writer.write(b" ".join((method, path, rest)))
            await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
