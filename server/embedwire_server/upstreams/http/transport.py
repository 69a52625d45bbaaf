"""HTTP/1.1 transport with its own connections, for the server and for clients of httpx.

httpx's own pool loses connections when calls are cancelled, and other clients retry requests on their own, or hide how
much of a request was sent (docs/decisions, 030). The server does not use httpx's interface for its own requests:
building httpx's requests, headers and responses takes as long as writing and parsing them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable

import httpx

from embedwire_server.upstreams.http.connection import Connection
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.exchange import Exchange, Request
from embedwire_server.upstreams.http.pool import ConnectionPool
from embedwire_server.upstreams.http.response_stream import ResponseStream

_Origin = tuple[str, str, int | None]


class Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 transport; the body of a response is streamed.

    The `Exchange` of a request decides which connection may be used, and records the progress. A request is written
    once, on one connection: whether to retry is the caller's decision.

    Args:
        dialer: creates the dialer of an origin, given as a URL.
    """

    def __init__(self, dialer: Callable[[httpx.URL], Dialer] = Dialer) -> None:
        self._dialer = dialer
        self._pools: dict[_Origin, ConnectionPool] = {}

    @property
    def open_connections(self) -> int:
        """Number of connections to all origins."""
        return sum(pool.open_connections for pool in self._pools.values())

    async def send(self, request: Request, exchange: Exchange) -> ResponseStream:
        """Send a request; return when the head of its response has arrived. Cancellation closes the connection.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError: no connection could be opened.
            httpx.ReadError: the connection ended before the response was complete.
            httpx.RemoteProtocolError: the response is not HTTP, or exceeds a limit (`Exchange.fault`).
            httpx.LocalProtocolError: the request cannot be written.
            httpx.UnsupportedProtocol: its URL cannot be used.
        """
        pool = self._pool(request.url)
        head = _head(request, pool.dialer)
        connection = await pool.connection(exchange)
        if isinstance(request.body, bytes):
            response = connection.begin(exchange, head + request.body)
            exchange.is_sent = True
            await response.head()
            return response
        response = connection.begin(exchange, head)
        sending = asyncio.ensure_future(_send(request, request.body, connection, response, exchange))
        try:
            try:
                await response.head()
            finally:
                sending.cancel()  # a final response may arrive before the request is sent: the rest is not sent
                await asyncio.wait([sending])
        except BaseException:  # also a cancellation while the body is closed
            response.abort()
            raise
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of httpx; see `send`. Its extension `exchange` may be an `Exchange`."""
        exchange: Exchange = request.extensions.get("exchange") or Exchange()
        headers = list(request.headers.raw)
        if "host" not in request.headers:
            headers.insert(0, (b"Host", request.url.netloc))
        body = request.stream
        content = b"".join(body) if isinstance(body, httpx.ByteStream) else body
        stream = await self.send(Request(request.url, headers, content, request.method.encode("ascii")), exchange)  # type: ignore[arg-type] # that of an async client
        return httpx.Response(stream.status, headers=stream.headers, stream=stream)

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


def _head(request: Request, dialer: Dialer) -> bytes:
    """Return the request line and the headers."""
    lines = [b"%b %b%b HTTP/1.1" % (request.method, dialer.target_prefix, request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers]
    lines += [b"%b: %b" % header for header in dialer.headers]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
        raise httpx.LocalProtocolError("a header contains a line end")
    return head


async def _send(
    request: Request, body: AsyncIterable[bytes], connection: Connection, response: ResponseStream, exchange: Exchange
) -> None:
    """Send a body piece by piece; an exception fails the response."""
    length = next((int(value) for name, value in request.headers if name.lower() == b"content-length"), 0)
    sent, exchange.is_sent = 0, not length
    try:
        async with contextlib.aclosing(aiter(body)) as pieces:  # type: ignore[type-var] # a generator
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
