"""Requests for tasks and assets to an upstream whose replies a test chooses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Self

from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.exchange import Exchange, Request
from embedwire_server.upstreams.http.transport import Transport
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect
from tests.support.upstreams import ScriptedHttpServer, Visit

KEY = "key-of-the-server"


def encoded(value: Any) -> bytes:
    """A value as JSON, also with half of a surrogate pair in a text."""
    return json.dumps(value).encode()


@contextlib.asynccontextmanager
async def answering(
    reply: Callable[[Visit, str], Any], **headers: Any
) -> AsyncGenerator[tuple[HttpClient, V2Dialect, ScriptedHttpServer]]:
    """Run an upstream that answers each request with the JSON that `reply` returns for it and for the base URL."""

    async def script(visit: Visit) -> None:
        await visit.answer(encoded(reply(visit, server.base_url)), **headers)

    server, transport = ScriptedHttpServer(script), Transport()
    async with server.running(), contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(transport.aclose)
        yield HttpClient(transport, "twelvelabs"), V2Dialect(server.base_url, KEY, "test"), server


class CannedResponse:
    """A response without a network; a body of None never arrives."""

    def __init__(self, body: bytes | None) -> None:
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_closed = False
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body or b"", b""
        if not body:
            raise StopAsyncIteration
        return body

    async def aclose(self) -> None:
        self.is_closed = True


class CannedSender:
    """Answers requests with these responses, in their order."""

    def __init__(self, *responses: CannedResponse) -> None:
        self.requests: list[Request] = []
        self._responses = iter(responses)

    async def send(self, request: Request, _: Exchange) -> CannedResponse:
        self.requests.append(request)
        return next(self._responses)
