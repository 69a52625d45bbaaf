"""The gateway with the requests and responses of httpx, to measure what the server's own types save.

python -m benchmarks.interface_app serve --upstream URL ...
"""

import contextlib

import httpx

from benchmarks import entry
from benchmarks.files_app import Received
from embedwire_server.app import App
from embedwire_server.assembly import TwelveLabs
from embedwire_server.upstreams.http.exchange import Exchange, Request
from embedwire_server.upstreams.http.transport import Transport


class InterfaceSender:
    """Sends requests by httpx's interface of the server's transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request, exchange: Exchange) -> Received:
        assert isinstance(request.body, bytes)
        response = await self._transport.handle_async_request(
            httpx.Request(
                request.method.decode(),
                request.url,
                headers=request.headers,
                stream=httpx.ByteStream(request.body),
                extensions={"exchange": exchange},
            )
        )
        return Received(response)


class InterfaceApp(App):
    """The server with that interface."""

    async def _upstream(self, stack: contextlib.AsyncExitStack) -> TwelveLabs:
        upstream = await super()._upstream(stack)
        transport = upstream.client.sender
        assert isinstance(transport, Transport)
        upstream.client.sender = InterfaceSender(transport)
        return upstream


if __name__ == "__main__":
    entry.serve(InterfaceApp)
