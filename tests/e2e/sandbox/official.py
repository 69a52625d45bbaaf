"""The official SDK, sync and async, connected to a sandbox, and plain HTTP for requests that the SDK cannot send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from twelvelabs import AsyncTwelveLabs, TwelveLabs
from twelvelabs.types import EmbeddingResponse

from embedwire_sandbox import Sandbox

Create = Callable[..., Awaitable[EmbeddingResponse]]
KEY = "test"


async def create_sync(sandbox: Sandbox, **arguments: Any) -> EmbeddingResponse:
    """Call `client.embed.create` of the sync client, in a thread."""

    def call() -> EmbeddingResponse:
        with httpx.Client(verify=False, trust_env=False, timeout=60) as http:
            client = TwelveLabs(api_key=KEY, base_url=sandbox.base_url, httpx_client=http)
            return client.embed.create(**arguments)

    return await asyncio.to_thread(call)


async def create_async(sandbox: Sandbox, **arguments: Any) -> EmbeddingResponse:
    """Call `client.embed.create` of the async client."""
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=60) as http:
        client = AsyncTwelveLabs(api_key=KEY, base_url=sandbox.base_url, httpx_client=http)
        return await client.embed.create(**arguments)


@asynccontextmanager
async def plain(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client with the base URL and the key."""
    async with httpx.AsyncClient(
        base_url=sandbox.base_url, headers={"x-api-key": KEY}, verify=False, trust_env=False, timeout=60
    ) as http:
        yield http


def form(**fields: str | bytes) -> dict[str, Any]:
    """The arguments of a request with these fields, for Marengo 3.0 unless they name another model."""
    return {"files": {name: (None, value) for name, value in {"model_name": "marengo3.0", **fields}.items()}}


async def post(sandbox: Sandbox, headers: Mapping[str, str] | None = None, **arguments: Any) -> httpx.Response:
    """Post to `/embed` once."""
    async with plain(sandbox) as http:
        return await http.post("/embed", headers=headers, **arguments)
