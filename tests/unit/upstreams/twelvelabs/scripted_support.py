"""Requests for tasks and assets to an upstream whose replies a test chooses."""

import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.transport import Transport
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect
from tests.support.upstreams import ScriptedHttpServer, Visit

KEY = "key-of-the-server"


def encoded(value: Any) -> bytes:
    """A value as JSON, also with half of a surrogate pair in a text."""
    return json.dumps(value).encode()


@contextlib.asynccontextmanager
async def answering(
    reply: Callable[[Visit, str], Any], **headers: str
) -> AsyncGenerator[tuple[HttpClient, V2Dialect, ScriptedHttpServer]]:
    """Run an upstream that answers each request with the JSON that `reply` returns for it and for the base URL."""

    async def script(visit: Visit) -> None:
        await visit.answer(encoded(reply(visit, server.base_url)), **headers)

    server, transport = ScriptedHttpServer(script), Transport()
    async with server.running(), contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(transport.aclose)
        yield HttpClient(transport, "twelvelabs"), V2Dialect(server.base_url, KEY, "test"), server
