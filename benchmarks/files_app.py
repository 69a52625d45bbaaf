"""The gateway on an unmodified httpx: its client, its connection pool, and bodies by `files=`.

python -m benchmarks.files_app serve --upstream URL ...
"""

import contextlib
from typing import Self

import httpx

from benchmarks import entry
from embedwire_server import __version__
from embedwire_server.app import App
from embedwire_server.assembly import TwelveLabs
from embedwire_server.core.inputs import TextInput
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.exchange import Exchange, Request
from embedwire_server.upstreams.http.upstream import HttpUpstream
from embedwire_server.upstreams.twelvelabs.v1 import V1Dialect


class Received:
    """A response of httpx's client, with the interface that the server reads."""

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers = response.status_code, response.headers.raw
        self.aclose = response.aclose
        self._chunks = aiter(response.stream)  # type: ignore[arg-type] # of an async client

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)


class ClientSender:
    """Sends requests by httpx's client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, request: Request, exchange: Exchange) -> Received:
        assert isinstance(request, FilesRequest)
        response = await self._client.send(request.request, stream=True)
        exchange.is_sent = True
        return Received(response)


class FilesRequest(Request):
    """A request of httpx."""

    def __init__(self, request: httpx.Request) -> None:
        super().__init__(request.url, [])
        self.request = request


class FilesDialect(V1Dialect):
    """Encodes requests for texts by `files=`; all else is unchanged."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, key: str | None) -> None:
        super().__init__(base_url, key, f"embedwire/{__version__}")
        self._client, self._root = client, base_url
        self._own = {"x-api-key": key or "", "accept-encoding": "identity"}

    def encode(self, call: EmbedCall, size: int) -> Request:  # noqa: ARG002 - the interface
        assert isinstance(call.input, TextInput)
        files = {"model_name": (None, call.model.name), "text": (None, call.input.value)}
        url = self._root + call.model.endpoint
        return FilesRequest(self._client.build_request("POST", url, files=files, headers=self._own))


class FilesApp(App):
    """The server with that client."""

    async def _upstream(self, stack: contextlib.AsyncExitStack) -> TwelveLabs:
        upstream = await super()._upstream(stack)
        settings = self._settings
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=None, trust_env=False))
        key = settings.upstream.api_key.get_secret_value() if settings.upstream.api_key else None
        dialect = FilesDialect(client, settings.upstream.base_url or "", key)
        upstream.client.sender = ClientSender(client)
        return upstream._replace(router=HttpUpstream(upstream.client, dialect))


if __name__ == "__main__":
    entry.serve(FilesApp)
