"""Fixtures of the sandbox's tests."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from embedwire_sandbox import Sandbox
from tests.e2e.sandbox.official import Create, create_async, create_sync
from tests.support.media import flac, png


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    # This variable would override the base URL of a test.
    monkeypatch.delenv("TWELVELABS_BASE_URL", raising=False)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(params=[create_sync, create_async], ids=["sync", "async"])
def create(request: pytest.FixtureRequest) -> Create:
    chosen: Create = request.param
    return chosen


@pytest.fixture
async def media_url() -> AsyncIterator[str]:
    """Serve /picture, /sound, /moved and /endless only; the URL has no trailing slash."""

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=png(), content_type="image/png")

    async def sound(_: web.Request) -> web.Response:
        return web.Response(body=flac(7), content_type="audio/flac")

    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound("/picture")

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))

    application = web.Application()
    application.add_routes(
        [web.get(f"/{handler.__name__}", handler) for handler in (picture, sound, moved)]
        + [web.get("/endless", endless)]
    )
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")
