"""One client in several threads, tasks and event loops."""

import asyncio
import gc
from typing import Any

from embedwire import AsyncClient, Text
from tests.e2e.client.callers import Connect, taken
from tests.support.serving import Served


def test_a_client_in_several_event_loops(served_by_thread: str) -> None:
    """An AsyncClient can be made without a running loop, and connects again in each further event loop."""
    client = AsyncClient(served_by_thread)

    async def use() -> Any:
        return (await client.embed("m", Text("a"), timeout=10)).vector.tolist()

    assert [asyncio.run(use()) for _ in range(3)] == [[1.0, 2.0]] * 3
    asyncio.run(client.close())


def test_dropping_a_stream_after_its_event_loop_ended(served_by_thread: str) -> None:
    """Dropping an unread or half-read stream after its event loop has ended raises nothing, not even in __del__."""
    kept: list[Any] = []

    async def use() -> None:
        client = AsyncClient(served_by_thread)
        for count in (0, 1, 2):
            stream = client.stream("m", Text("a"), timeout=10)
            for _ in range(count):
                await anext(stream)
            kept.append(stream)

    asyncio.run(use())
    kept.clear()
    gc.collect()


async def test_many_calls_at_once(connect: Connect, served: Served) -> None:
    """One client serves many threads or tasks concurrently, and each gets its own answer."""
    async with connect(served.app.target) as client:
        alone = [await client.embed("marengo3.0", Text(f"text {number}"), timeout=20) for number in range(4)]
        together = await asyncio.gather(
            *(client.embed("marengo3.0", Text(f"text {number % 4}"), timeout=30) for number in range(60))
        )

    for number, embedding in enumerate(together):
        assert embedding.vector.tolist() == alone[number % 4].vector.tolist()
    assert len({embedding.result.request_id for embedding in together}) == 60


async def test_many_streams_at_once(connect: Connect, served: Served) -> None:
    """Concurrent streams of one client do not mix their events."""
    async with connect(served.app.target) as client:

        async def one(number: int) -> None:
            stream = await client.stream(
                "marengo3.0", [Text("a", key=f"{number}"), Text("b", key=f"{number}")], timeout=30
            )
            events = await taken(stream)
            assert {event.input_key for event in events} == {f"{number}"}
            assert len(events) == 4

        await asyncio.gather(*(one(number) for number in range(30)))
