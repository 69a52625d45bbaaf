"""httpx's interface for what carries requests, on our own connections.

httpx's own pool loses connections when calls are cancelled, and other clients repeat requests on their own, or hide how
much of a request was sent (docs/decisions, 030).
"""

import asyncio
import contextlib
from collections.abc import Callable

import httpx

from embedwire_server.upstream.connection import Connection
from embedwire_server.upstream.dialer import Dialer
from embedwire_server.upstream.exchange import Exchange
from embedwire_server.upstream.pool import ConnectionPool
from embedwire_server.upstream.response_stream import ResponseStream

_Origin = tuple[str, str, int | None]


class Transport(httpx.AsyncBaseTransport):
    """Carries requests over HTTP/1.1; the body of a response is read as it arrives.

    The extension `exchange` of a request, an `Exchange`, says which connection may be used, and records how far the
    request came. A request is written once, on one connection: repeating it is the caller's decision.

    Args:
        dialer: makes what opens connections to an origin, given as a URL.
    """

    def __init__(self, dialer: Callable[[httpx.URL], Dialer] = Dialer) -> None:
        self._dialer = dialer
        self._pools: dict[_Origin, ConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; returns when the head of its response is there. To cancel it closes its connection at once.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError: there was no connection.
            httpx.ReadError: the connection ended before the response was complete.
            httpx.RemoteProtocolError: what arrived is not HTTP, or exceeds a limit (`Exchange.fault`).
            httpx.LocalProtocolError: the request cannot be written.
            httpx.UnsupportedProtocol: its URL cannot be used.
        """
        exchange: Exchange = request.extensions.get("exchange") or Exchange()
        pool = self._pool(request.url)
        head = _head(request, pool.dialer)
        connection = await pool.connection(exchange)
        body = request.stream
        if isinstance(body, httpx.ByteStream):
            response = connection.begin(exchange, b"".join((head, *body)))
            exchange.is_sent = True
            return await _response(response, exchange)
        response = connection.begin(exchange, head)
        sending = asyncio.ensure_future(_send(request, connection, response, exchange))
        try:
            return await _response(response, exchange)
        finally:
            sending.cancel()  # a final response may come before the request is sent: the rest is not wanted
            await asyncio.wait([sending])

    def prepare(self, url: str) -> None:
        """Build the pool of an origin before its first request, which then need not read certificate authorities.

        Raises:
            OSError: they cannot be read.
        """
        self._pool(httpx.URL(url))

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, url: httpx.URL) -> ConnectionPool:
        origin = url.scheme, url.host, url.port
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = ConnectionPool(self._dialer(url))
        return pool


def _head(request: httpx.Request, dialer: Dialer) -> bytes:
    """The request line and the headers, `Host` added."""
    headers = [*request.headers.raw, *dialer.headers]
    if "host" not in request.headers:
        headers.insert(0, (b"Host", request.url.netloc))
    lines = [b"%b %b%b HTTP/1.1" % (request.method.encode("ascii"), dialer.target_prefix, request.url.raw_path)]
    lines += [b"%b: %b" % header for header in headers]
    head = b"\r\n".join([*lines, b"", b""])
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
        raise httpx.LocalProtocolError("a header contains a line end")
    return head


async def _response(stream: ResponseStream, exchange: Exchange) -> httpx.Response:
    """Wait for the head of the response."""
    try:
        status, headers = await stream.head()
    except BaseException:
        stream.abort()
        raise
    response = httpx.Response(status, headers=headers, stream=stream, extensions={"exchange": exchange})
    response.headers.encoding = "iso-8859-1"  # or httpx would try all of them, and again for each that is read
    return response


async def _send(request: httpx.Request, connection: Connection, response: ResponseStream, exchange: Exchange) -> None:
    """Send a body piece by piece; if that goes wrong, the response fails with the exception."""
    length = int(request.headers.get("content-length", 0))
    sent, exchange.is_sent = 0, not length
    try:
        async with contextlib.aclosing(aiter(request.stream)) as pieces:  # type: ignore[arg-type, type-var] # a generator
            async for piece in pieces:
                sent += len(piece)
                if sent > length:
                    break
                exchange.is_sent = sent == length
                if not await connection.write(piece):
                    return
    except Exception as error:  # noqa: BLE001 - it is raised where the response is awaited
        response.fail(error)
    if sent != length:
        response.fail(httpx.LocalProtocolError("the body of the request is not as long as its Content-Length"))
