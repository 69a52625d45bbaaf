"""The gateway as it would be on httpx as it comes: its client, its own pool, and bodies by `files=`.

python -m bench.files_app serve --upstream URL ...
"""

import contextlib
import time

import httpx

from bench import entry
from embedwire_server import __version__
from embedwire_server.app import App
from embedwire_server.domain import TextInput
from embedwire_server.upstream import UpstreamCall
from embedwire_server.upstream.http import HttpUpstream


class FilesUpstream(HttpUpstream):
    """Sends texts by httpx's client; all else stays as it is."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, key: str | None) -> None:
        super().__init__(client._transport, base_url, "custom", key, f"embedwire/{__version__}")
        self._client = client

    async def _answer(self, call: UpstreamCall) -> httpx.Response:
        assert isinstance(call.input, TextInput)
        call.trace.attempts += 1
        started = time.perf_counter()
        files = {"model_name": (None, call.model.name), "text": (None, call.input.value)}
        headers = {"x-api-key": self._key or "", "accept-encoding": "identity"}
        request = self._client.build_request("POST", self._base_url + call.model.endpoint, files=files, headers=headers)
        response = await self._client.send(request, stream=True)
        call.trace.waiting += time.perf_counter() - started
        return response


class FilesApp(App):
    """The server on that upstream."""

    async def _upstream(self, stack: contextlib.AsyncExitStack) -> HttpUpstream:
        settings = self._settings
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=None, trust_env=False))
        key = settings.api_key.get_secret_value() if settings.api_key else None
        return FilesUpstream(client, settings.upstream_url or "", key)


if __name__ == "__main__":
    entry.serve(FilesApp)
