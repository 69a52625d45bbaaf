"""`Client` and `AsyncClient` behind one interface: each test case is written once and runs for both."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol, Self

from embedwire import (
    AsyncClient,
    AsyncMapRun,
    AsyncStream,
    Audio,
    Client,
    Embedding,
    Event,
    Image,
    MapRun,
    Model,
    Stream,
)

BROKEN = Image(data=b"no image", key="broken")  # the upstream rejects it
SOUND = Audio(url="http://media.test/a.mp3")  # a scripted upstream answers it without a fetch
# One input that is answered by a stream; one text alone is answered by the unary call.
PICTURE = Image(url="http://media.test/a.png")


class Events(AsyncIterator[Event]):
    """The events of one call, of either class."""

    def __init__(self, stream: Stream | AsyncStream) -> None:
        self.stream = stream
        self.request_id = stream.request_id

    async def __anext__(self) -> Event:
        if isinstance(self.stream, AsyncStream):
            return await anext(self.stream)
        event = await asyncio.to_thread(next, self.stream, None)  # a StopIteration cannot leave a thread
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        if isinstance(self.stream, AsyncStream):
            await self.stream.__aenter__()
        else:
            self.stream.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self.stream, AsyncStream):
            await self.stream.__aexit__(None, None, None)
        else:
            self.stream.__exit__(None, None, None)

    async def close(self) -> None:
        self.stream.close()


class Embeddings(AsyncIterator[Embedding]):
    """The embeddings of one run of `map`, of either class."""

    def __init__(self, run: MapRun | AsyncMapRun) -> None:
        self.run = run

    async def __anext__(self) -> Embedding:
        if isinstance(self.run, AsyncMapRun):
            return await anext(self.run)
        embedding = await asyncio.to_thread(next, self.run, None)
        if embedding is None:
            raise StopAsyncIteration
        return embedding

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if isinstance(self.run, AsyncMapRun):
            await self.run.close()
        else:
            await asyncio.to_thread(self.run.close)


class Caller(Protocol):
    """The common interface. The server runs in the event loop of the test, so calls must not block it."""

    is_async: bool

    async def stream(self, model: str, inputs: Any, **options: Any) -> Events: ...

    async def embed(self, model: str, inputs: Any, **options: Any) -> Any: ...

    def map(self, model: str, inputs: Any, **options: Any) -> Embeddings: ...

    async def models(self, **options: Any) -> list[Model]: ...

    async def close(self) -> None: ...


class InThreads:
    """A `Client` whose calls run in threads."""

    is_async = False

    def __init__(self, *target: str, **options: Any) -> None:
        self.client: Any = Client(*target, **options)  # its overloads require known arguments

    async def stream(self, model: str, inputs: Any, **options: Any) -> Events:
        return Events(await asyncio.to_thread(self.client.stream, model, inputs, **options))

    async def embed(self, model: str, inputs: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self.client.embed, model, inputs, **options)

    def map(self, model: str, inputs: Any, **options: Any) -> Embeddings:
        return Embeddings(self.client.map(model, inputs, **options))

    async def models(self, **options: Any) -> list[Model]:
        found: list[Model] = await asyncio.to_thread(self.client.models, **options)
        return found

    async def close(self) -> None:
        await asyncio.to_thread(self.client.close)


class InTheLoop:
    """An `AsyncClient`."""

    is_async = True

    def __init__(self, *target: str, **options: Any) -> None:
        self.client = AsyncClient(*target, **options)

    async def stream(self, model: str, inputs: Any, **options: Any) -> Events:
        return Events(self.client.stream(model, inputs, **options))

    async def embed(self, model: str, inputs: Any, **options: Any) -> Any:
        return await self.client.embed(model, inputs, **options)

    def map(self, model: str, inputs: Any, **options: Any) -> Embeddings:
        return Embeddings(self.client.map(model, inputs, **options))

    async def models(self, **options: Any) -> list[Model]:
        return await self.client.models(**options)

    async def close(self) -> None:
        await self.client.close()


Connect = Callable[..., contextlib.AbstractAsyncContextManager[Caller]]


def connecting(kind: type[InThreads] | type[InTheLoop]) -> Connect:
    @contextlib.asynccontextmanager
    async def connect(*target: str, **options: Any) -> AsyncGenerator[Caller]:
        caller = kind(*target, **options)
        try:
            yield caller
        finally:
            await caller.close()

    return connect


async def taken(events: Events) -> list[Event]:
    """All remaining events."""
    return [event async for event in events]


async def mapped(embeddings: Embeddings) -> dict[int, Embedding]:
    """All remaining embeddings, by position; there is one for each."""
    found = [embedding async for embedding in embeddings]
    by_position = {embedding.result.input_index: embedding for embedding in found}
    assert len(by_position) == len(found)
    return by_position
