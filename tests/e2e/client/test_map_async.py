"""Ends of a run of `AsyncClient.map`: asynchronous iterators, cancelled tasks, event loops that have ended."""

import asyncio
import gc
import itertools
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from embedwire import AsyncClient, Text
from tests.e2e.client.hanging import hang
from tests.e2e.client.services import Recorder
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, until


async def test_an_async_iterator_is_closed(scripted: Scripted) -> None:
    """Leaving a run of AsyncClient closes an async generator before the block is left, also one that waits."""
    is_closed = False

    async def inputs() -> AsyncGenerator[Text]:
        nonlocal is_closed
        try:
            yield Text("a")
            await asyncio.Event().wait()
        finally:
            is_closed = True

    async with scripted(hang) as (served, _), AsyncClient(served.app.target) as client:
        async with client.map("marengo3.0", inputs()) as embeddings:
            await anext(embeddings)
        assert is_closed


async def test_cancelling_the_task_of_a_run(scripted: Scripted) -> None:
    """Cancelling the task that iterates, without a block, ends the run when it is dropped."""
    async with scripted(hang) as (served, upstream), AsyncClient(served.app.target) as client:

        async def iterate() -> None:
            async for _ in client.map("marengo3.0", [Text("slow")]):
                pass

        task = asyncio.create_task(iterate())
        await until(lambda: bool(upstream.visits))
        task.cancel()
        await asyncio.wait([task], timeout=10)
        del task
        gc.collect()
        await asyncio.wait_for(upstream.visits[0].gone(), 10)


def test_a_run_that_outlives_its_event_loop(served_by_thread: str) -> None:
    """Dropping a run after its event loop has ended raises nothing, not even in __del__."""
    kept: list[Any] = []

    async def use() -> None:
        client = AsyncClient(served_by_thread)
        run = client.map("m", (Text("a") for _ in itertools.count()))
        await anext(run)
        kept.append((client, run))

    asyncio.run(use())
    kept.clear()
    gc.collect()


def test_a_client_is_closed_in_another_event_loop_than_its_run(served_by_thread: str) -> None:
    """A run that was left unfinished in an event loop that has ended does not disturb the end of its client."""
    client = AsyncClient(served_by_thread)
    kept: list[Any] = []

    async def use() -> None:
        kept.append(client.map("m", (Text("a") for _ in itertools.count())))
        await anext(kept[0])

    asyncio.run(use())
    asyncio.run(client.close())
    kept.clear()
    gc.collect()


class Inputs:
    """An asynchronous iterator that is no generator, and waits after its first input."""

    def __init__(self) -> None:
        self.given, self.is_closed = 0, False

    def __aiter__(self) -> "Inputs":
        return self

    async def __anext__(self) -> Text:
        self.given += 1
        if self.given > 1:
            await asyncio.Event().wait()
        return Text("a")

    async def aclose(self) -> None:
        self.is_closed = True


async def test_an_async_iterator_of_another_kind_is_closed() -> None:
    """Leaving a run closes every asynchronous iterator that has `aclose`."""
    inputs = Inputs()
    async with Recorder().serving() as target, AsyncClient(target) as client:
        async with client.map("m", inputs) as embeddings:
            await anext(embeddings)
        assert inputs.is_closed


async def test_a_task_of_a_run_that_is_cancelled_ends_it(scripted: Scripted) -> None:
    """If another part of the program cancels a task of a run, the consumer gets an error, and is not cancelled."""
    async with scripted(hang) as (served, upstream), AsyncClient(served.app.target) as client:
        before = asyncio.all_tasks()
        waiting = asyncio.create_task(anext(client.map("marengo3.0", [Text("slow")])))
        await until(lambda: bool(upstream.visits))
        for task in asyncio.all_tasks() - before - {waiting}:
            if "Tasks._perform" in repr(task):
                task.cancel()
        with pytest.raises(RuntimeError, match="cancelled"):
            await asyncio.wait_for(waiting, 10)


async def test_an_iterator_that_is_cancelled_is_an_error() -> None:
    """If what an async iterator awaits is cancelled, its inputs are embedded, and then an error is raised."""

    async def inputs() -> AsyncGenerator[Text]:
        yield Text("a")
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async with Recorder().serving() as target, AsyncClient(target) as client:
        embeddings = client.map("m", inputs())
        first = await asyncio.wait_for(anext(embeddings), 10)
        with pytest.raises(RuntimeError, match="cancelled"):
            await asyncio.wait_for(anext(embeddings), 10)
    assert first.failure is None


async def test_an_async_iterator_of_a_run_that_has_not_begun_is_closed() -> None:
    """Leaving a run closes an asynchronous iterator although nothing was read from it."""
    inputs = Inputs()
    async with AsyncClient(NO_SERVER) as client, client.map("m", inputs):
        pass
    assert inputs.is_closed
