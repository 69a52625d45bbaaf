"""The tunnel through a proxy: a CONNECT request, its response, and TLS to the origin inside."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

import httptools
import httpx

MAX_HEAD_BYTES = 16 << 10  # of all responses to CONNECT together, interim ones included
_OK = range(200, 300)
_INTERIM = range(100, 200)

P = TypeVar("P", bound=asyncio.Protocol)


class ProxyRefused(Exception):
    """The proxy answered CONNECT with another status than success.

    Args:
        status: that status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered with status {status}")
        self.status = status


class Tunnel(asyncio.Protocol):
    """A connection to a proxy until it has become a tunnel."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._established: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._size = 0
        self._is_established = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment] # of a connection

    def data_received(self, data: bytes) -> None:
        """Take bytes of the response; there must be none behind it."""
        if self._established.done():
            self._fail(httpx.ProxyError("the proxy sent bytes behind its response to CONNECT"))
            return
        self._size += len(data)
        try:
            for index in range(len(data)):
                self._parser.feed_data(data[index : index + 1])
                if self._is_established:
                    break
        except httptools.HttpParserError as error:
            if not self._established.done():
                self._fail(error)
            return
        if self._established.done():
            return
        if self._is_established and index + 1 == len(data):
            self._established.set_result(None)
        elif self._is_established or self._size > MAX_HEAD_BYTES:
            self._fail(httptools.HttpParserError("too much"))

    def on_headers_complete(self) -> None:
        """Decide by the status; called by the parser."""
        status = self._parser.get_status_code()
        if status in _INTERIM:
            return
        if status in _OK:
            self._is_established = True
        else:
            self._fail(ProxyRefused(status))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail if there is no tunnel yet."""
        self._fail(error or EOFError("the proxy closed the connection"))

    async def upgrade(
        self,
        host: str,
        port: int,
        headers: tuple[tuple[bytes, bytes], ...],
        context: ssl.SSLContext,
        factory: Callable[[], P],
        on_accepted: Callable[[], None],
    ) -> P:
        """Ask for a tunnel to a host, and open TLS to it inside."""
        transport = self._transport
        assert transport is not None  # noqa: S101
        try:
            transport.write(_request(host, port, headers))
            await self._established
            on_accepted()
            inner = await asyncio.get_running_loop().start_tls(transport, self, context, server_hostname=host)
            if inner is None:
                raise ConnectionResetError
        except BaseException:
            transport.abort()
            raise
        protocol = factory()
        inner.set_protocol(protocol)
        protocol.connection_made(inner)
        return protocol

    def _fail(self, error: Exception) -> None:
        if not self._established.done():
            self._established.set_exception(error)
            self._established.exception()
        if self._transport is not None:
            self._transport.abort()


def _request(host: str, port: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1".encode(), b"Host: " + authority.encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"
