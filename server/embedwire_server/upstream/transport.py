"""httpx's interface for what carries requests, on aiohttp's connections.

httpx's own pool must not ship (docs/decisions, 001). What others have built between the two names a connection
that ends as one that was never made, which would be safe to send again and is not.
"""

from typing import Self

import aiohttp
import httpx

from embedwire_server.upstream import connection
from embedwire_server.upstream.connection import Exchange

PLAIN_BYTES = 512 << 10  # as much as aiohttp holds
COMPRESSED_BYTES = 16 << 10  # zlib copies what it has not used yet at each step


class Transport(httpx.AsyncBaseTransport):
    """Carries requests; a reply's body is read as it arrives.

    Errors are httpx's: UnsupportedProtocol for an address that cannot be used, ConnectError and ConnectTimeout where
    there was no connection, ReadError where it ended, RemoteProtocolError where what came is not HTTP. Their texts may
    hold addresses.

    Args:
        session: makes the connections; closed with the transport.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; returns when the head of its reply is there.

        The extension `exchange` of the request, an `Exchange`, says which connection may be used, and records how far
        the request came. A reused connection that ends before the request is written is replaced by a new one.

        Raises:
            httpx.TransportError: there is none.
        """
        exchange: Exchange = request.extensions.get("exchange") or Exchange()
        connection.current.set(exchange)
        try:
            try:
                reply = await self._send(request)
            except aiohttp.ClientError:
                if exchange.is_begun or not exchange.is_reused:
                    raise
                exchange.needs_fresh, exchange.is_connected, exchange.is_reused = True, False, False
                reply = await self._send(request)
        except aiohttp.ClientError as error:
            raise _mapped(error) from error
        extensions = {"exchange": exchange}
        response = httpx.Response(reply.status, headers=reply.raw_headers, stream=_Body(reply), extensions=extensions)
        response.headers.encoding = "iso-8859-1"  # or httpx would try all of them, and again for each that is asked for
        return response

    async def _send(self, request: httpx.Request) -> aiohttp.ClientResponse:
        stream = request.stream
        return await self._session.request(
            request.method,
            str(request.url),
            headers=[(name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw],
            data=b"".join(stream) if isinstance(stream, httpx.ByteStream) else stream,
            allow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """What arrives of a reply's body, in small pieces; its own iterator: a generator would be one more to close."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply
        self._most = COMPRESSED_BYTES if "content-encoding" in reply.headers else PLAIN_BYTES

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._reply.content.read(self._most)
        except aiohttp.ClientError as error:
            raise _mapped(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body was not read to its end."""
        self._reply.release()
        await self._reply.wait_for_close()  # for a request that is still being sent


def _mapped(error: aiohttp.ClientError) -> httpx.TransportError:
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return httpx.UnsupportedProtocol(str(error))
    if isinstance(error, aiohttp.ServerTimeoutError):
        return httpx.ConnectTimeout(str(error))
    if isinstance(error, aiohttp.ClientConnectorError):
        return httpx.ConnectError(str(error))
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return httpx.ReadError(str(error))
    return httpx.RemoteProtocolError(str(error))
