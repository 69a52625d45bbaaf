"""Calls of the drop-in, and an upstream that fails at first."""

import asyncio
from typing import Any

from embedwire.twelvelabs import TwelveLabs
from tests.support.serving import Served
from tests.support.upstreams import Visit, reply

NEW, OLD = "marengo3.0", "Marengo-retrieval-2.7"


async def create(served: Served, *positional: Any, api_key: str | None = None, **arguments: Any) -> Any:
    """The sync drop-in, in a thread, because the server runs on this loop."""
    return await create_at(served.app.target, *positional, api_key=api_key, **arguments)


async def create_at(target: str, *positional: Any, api_key: str | None = None, **arguments: Any) -> Any:
    with TwelveLabs(target=target, api_key=api_key) as client:
        return await asyncio.to_thread(lambda: client.embed.create(*(positional or (NEW,)), **arguments))


class Flaky:
    """An upstream that fails some requests first, and records what it received."""

    def __init__(self, failures: int, status: int = 503, **headers: str) -> None:
        self.failures = failures
        self.status = status
        self.headers = headers
        self.bodies: list[bytes] = []

    async def __call__(self, visit: Visit) -> None:
        self.bodies.append(visit.body)
        if len(self.bodies) <= self.failures:
            await visit.answer({"code": "x", "message": "Not now."}, self.status, **self.headers)
        else:
            name = "audio" if b"audio_file" in visit.body else "image" if b"image_file" in visit.body else "text"
            await visit.answer(reply(f"{name}_embedding"))
