"""HTTP proxy tunnel: the CONNECT request, its response, and TLS to the origin inside."""

import asyncio
import dataclasses
import ssl
from collections.abc import Callable
from typing import TypeVar

import httptools

MAX_HEAD_BYTES = 16 << 10  # of all responses to one CONNECT together, interim ones included
SHUTDOWN_SECONDS = 1.0  # for the peer's close_notify, when a connection is closed
_SWITCHING_PROTOCOLS = 101  # a final response among the 1xx

Headers = tuple[tuple[bytes, bytes], ...]
P = TypeVar("P", bound=asyncio.Protocol)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Endpoint of a connection.

    Attributes:
        host: its name or address, without brackets.
        port: its port.
        context: TLS context; None is plaintext.
    """

    host: str
    port: int
    context: ssl.SSLContext | None = None

    @property
    def authority(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TunnelError(Exception):
    """The proxy did not open a tunnel.

    Args:
        message: why not.
        status: status of its response, if there was one.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Tunnel(asyncio.Protocol):
    """Protocol of a connection to a proxy, until it is handed over as a tunnel to the origin."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._size = 0

    async def open(
        self, origin: Target, headers: Headers, factory: Callable[[], P], on_accepted: Callable[[], None]
    ) -> P:
        """Ask the proxy for a tunnel, open TLS to the origin inside, and hand the connection over to a new protocol.

        Args:
            origin: endpoint of the tunnel.
            headers: headers of the CONNECT request.
            factory: creates the new protocol.
            on_accepted: called once there is a tunnel, also if TLS fails inside.

        Raises:
            TunnelError: the proxy does not open one.
            OSError: the connection ended, or TLS failed.
        """
        transport = self._transport
        if transport is None or origin.context is None:
            raise RuntimeError("a tunnel needs a connection, and TLS inside")
        try:
            transport.write(_request(origin.authority, headers))
            _require_success(await self._answered)
            _require_open(transport)
            on_accepted()
            inner = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                origin.context,
                server_hostname=origin.host,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
            inner = _require_open(inner)
        except BaseException:
            transport.abort()
            raise
        protocol = factory()
        inner.set_protocol(protocol)
        protocol.connection_made(inner)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the connection to the proxy."""
        self._transport = transport  # type: ignore[assignment] # of a stream

    def data_received(self, data: bytes) -> None:
        """Parse the response. Bytes behind it, or inside TLS before the hand-over, end the connection."""
        self._size += len(data)
        try:
            for line in data.splitlines(keepends=True):  # a head ends at the end of a line
                if self._status:  # an error response may have a body
                    if _is_success(self._status):
                        self._fail(TunnelError("the proxy sent bytes behind its response to CONNECT"))
                    break
                self._parser.feed_data(line)
        except httptools.HttpParserUpgrade:  # 101
            pass
        except httptools.HttpParserError:
            self._fail(TunnelError("the proxy's response to CONNECT is not HTTP"))
            return
        if self._status and not self._answered.done():
            self._answered.set_result(self._status)
        elif self._size > MAX_HEAD_BYTES:
            self._fail(TunnelError(f"the proxy's response to CONNECT has more than {MAX_HEAD_BYTES} bytes"))

    def on_headers_complete(self) -> None:
        """Store the status of a final response; called by the parser."""
        status = self._parser.get_status_code()
        if status >= 200 or status == _SWITCHING_PROTOCOLS:  # noqa: PLR2004 - final
            self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection."""
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("the connection ended"))

    def _fail(self, error: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(error)
            self._answered.exception()  # mark as retrieved: the connect may have been cancelled
        if self._transport is not None:
            self._transport.abort()


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


def _require_success(status: int) -> None:
    if not _is_success(status):
        raise TunnelError(f"the proxy answered CONNECT with status {status}", status)


def _require_open(transport: asyncio.Transport | None) -> asyncio.Transport:
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the connection ended")
    return transport


def _request(authority: str, headers: Headers) -> bytes:
    host = authority.encode("ascii")
    lines = [b"CONNECT %b HTTP/1.1" % host, b"Host: " + host, *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join([*lines, b"", b""])
