"""Ends of a run of `map` before all inputs have ended: timeouts, a consumer that stops, a client that is closed."""

import asyncio
import gc
import io
import itertools
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from embedwire import AsyncClient, Audio, Client, ClosedError, DeadlineExceededError, Embedding, Image, Text
from tests.e2e.client.callers import Connect, Embeddings, mapped
from tests.e2e.client.services import Recorder, rejection
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, until
from tests.support.upstreams import ScriptedHttpServer, Visit, reply


async def hang(visit: Visit) -> None:
    """Never answer a text that begins with "slow"."""
    if b"slow" in visit.body:
        await visit.gone()
    else:
        await visit.answer(reply())


def slow(upstream: ScriptedHttpServer) -> list[Visit]:
    """The requests that are not answered."""
    return [visit for visit in upstream.visits if b"slow" in visit.body]


async def collect(embeddings: Embeddings, found: list[Embedding]) -> None:
    async for embedding in embeddings:
        found.append(embedding)  # noqa: PERF401 - they are kept if it raises


def run_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "embedwire-map"]


async def test_the_timeout_of_the_run(connect: Connect, scripted: Scripted) -> None:
    """At run_timeout every input that was read has a failure or a result; then DeadlineExceededError is raised."""
    found: list[Embedding] = []
    async with scripted(hang) as (served, upstream), connect(served.app.target) as client:
        asked = (Text("slow" if number % 2 else "quick") for number in itertools.count())
        embeddings = client.map("marengo3.0", asked, inputs_per_call=2, concurrent_calls=2, run_timeout=1.0)
        with pytest.raises(DeadlineExceededError) as caught:
            await collect(embeddings, found)
        for visit in slow(upstream):
            await asyncio.wait_for(visit.gone(), 10)

    by_position = {embedding.result.input_index: embedding for embedding in found}
    assert sorted(by_position) == list(range(len(found)))
    reasons = {position: each.failure and each.failure.reason for position, each in by_position.items()}
    assert {reasons[0], reasons[2]} <= {None, "DEADLINE_EXCEEDED"}
    assert {reasons[1], reasons[3]} == {"DEADLINE_EXCEEDED"}
    assert (caught.value.reason, caught.value.request_id) == ("DEADLINE_EXCEEDED", "")


async def test_the_timeout_of_the_run_ends_a_blocked_iterator(connect: Connect) -> None:
    """A run whose iterator blocks ends at run_timeout, with DeadlineExceededError."""
    is_over = threading.Event()

    def blocked() -> Iterator[Text]:
        yield Text("a")
        is_over.wait(60)

    async with Recorder().serving() as target, connect(target) as client:
        embeddings = client.map("m", blocked(), run_timeout=0.5)
        first = await anext(embeddings)
        with pytest.raises(DeadlineExceededError):
            await asyncio.wait_for(anext(embeddings), 10)
        is_over.set()
    assert first.failure is None


async def test_the_timeout_of_the_run_cancels_its_calls(connect: Connect, scripted: Scripted) -> None:
    """At run_timeout calls are cancelled and threads end, also if the iterator was at its end."""
    async with scripted(hang) as (served, upstream), connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", [Text("slow")], run_timeout=0.5)
        found: list[Embedding] = []
        with pytest.raises(DeadlineExceededError):
            await collect(embeddings, found)
        await asyncio.wait_for(upstream.visits[0].gone(), 10)
        await until(lambda: not run_threads())
    assert [each.failure and each.failure.reason for each in found] == ["DEADLINE_EXCEEDED"]


class Blocking(io.BytesIO):
    """A file whose `read` blocks until it is released."""

    def __init__(self) -> None:
        super().__init__(b"content")
        self.is_blocked, self.is_released = threading.Event(), threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        self.is_blocked.set()
        self.is_released.wait(60)
        return super().read(size)


async def test_no_call_is_made_after_the_end(connect: Connect) -> None:
    """A run that is left while a file is being read for a call does not make the call."""
    recorder, file = Recorder(), Blocking()
    async with recorder.serving() as target, connect(target) as client:
        embeddings = client.map("m", [Image(file=file)])
        waiting = asyncio.create_task(anext(embeddings))
        await asyncio.to_thread(file.is_blocked.wait, 30)
        await asyncio.wait_for(embeddings.close(), 10)
        file.is_released.set()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)
        await until(lambda: not run_threads())
        await client.models(timeout=10)
    assert len(recorder.requests) == 1


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, every request for an embedding raises that; none waits for ever."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Client(NO_SERVER) as client:
        embeddings = client.map("m", [Text("a")])
        monkeypatch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                next(embeddings)
        monkeypatch.undo()


LEAVE = ["block", "close", "drop", "client"]


@pytest.mark.parametrize("how", LEAVE)
async def test_a_run_that_is_left_leaves_nothing(connect: Connect, scripted: Scripted, how: str) -> None:
    """Leaving a run cancels its calls, ends its threads and tasks, and closes the iterator of the inputs."""
    is_closed = threading.Event()

    def inputs() -> Iterator[Text]:
        try:
            yield Text("quick")
            for number in itertools.count():
                yield Text(f"slow {number}")
        finally:
            is_closed.set()

    async with scripted(hang) as (served, upstream), connect(served.app.target) as client:
        await client.models(timeout=10)  # connects
        tasks = asyncio.all_tasks()
        embeddings: Any = client.map("marengo3.0", inputs(), inputs_per_call=3, concurrent_calls=3)
        await anext(embeddings)
        await until(lambda: len(slow(upstream)) >= 3)  # at least one for each call
        if how == "block":
            async with embeddings:
                pass
        elif how == "close":
            await embeddings.close()
            assert await mapped(embeddings) == {}
        elif how == "client":
            await client.close()
        else:
            del embeddings
            gc.collect()
        for visit in slow(upstream):
            await asyncio.wait_for(visit.gone(), 10)
        await until(is_closed.is_set)
        await until(lambda: not run_threads())
        await until(lambda: served.metric("embedwire_inputs_in_flight") == 0)
        assert not [task for task in asyncio.all_tasks() - tasks if "embedwire/map" in repr(task)]


async def test_a_closed_client_ends_its_runs(connect: Connect, scripted: Scripted) -> None:
    """If the client is closed, a pending request for an embedding raises ClosedError at once, and so does a new run."""
    async with scripted(hang) as (served, _), connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", (Text(f"slow {number}") for number in itertools.count()))
        unread = client.map("marengo3.0", [Text("a")])
        waiting = asyncio.create_task(anext(embeddings))
        await until(lambda: served.metric("embedwire_inputs_in_flight") > 0)
        await client.close()
        for pending in (waiting, anext(embeddings), anext(unread)):
            with pytest.raises(ClosedError, match="the client is closed"):
                await asyncio.wait_for(pending, 10)
        with pytest.raises(ClosedError):
            client.map("marengo3.0", [Text("a")])


async def test_a_client_that_is_closed_during_a_pause_ends_its_runs(connect: Connect) -> None:
    """A run that pauses after a rejection makes no further call when its client is closed."""
    recorder = Recorder([rejection("RATE_LIMITED", 1)])
    async with recorder.serving() as target, connect(target) as client:
        waiting = asyncio.create_task(anext(client.map("m", [Text("a")])))
        await until(lambda: bool(recorder.requests))
        await client.close()
        with pytest.raises(ClosedError):
            await asyncio.wait_for(waiting, 10)
    assert len(recorder.requests) == 1


async def test_a_blocked_upload_does_not_hold_up_the_end(connect: Connect) -> None:
    """A run is left at once although the source of an upload blocks; its thread ends with the source."""
    is_blocked, is_released = threading.Event(), threading.Event()

    def blocked() -> Iterator[bytes]:
        yield b"some"
        is_blocked.set()
        is_released.wait(60)
        yield b"more"

    async with Recorder().serving() as target, connect(target) as client:
        embeddings = client.map("m", [Audio(chunks=blocked())])
        waiting = asyncio.create_task(anext(embeddings))
        await asyncio.to_thread(is_blocked.wait, 30)
        await asyncio.wait_for(embeddings.close(), 10)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)
        is_released.set()
        await until(lambda: not run_threads())


async def test_a_blocked_iterator_does_not_hold_up_the_end(connect: Connect) -> None:
    """A run is left at once although the iterator of its inputs blocks; the iterator is closed when it returns."""
    is_blocked, is_released, is_closed = threading.Event(), threading.Event(), threading.Event()

    def blocked() -> Iterator[Text]:
        try:
            yield Text("a")
            is_blocked.set()
            is_released.wait(60)
            yield Text("b")
        finally:
            is_closed.set()

    async with Recorder().serving() as target, connect(target) as client:
        embeddings = client.map("m", blocked())
        await anext(embeddings)
        await asyncio.to_thread(is_blocked.wait, 30)
        await asyncio.wait_for(embeddings.close(), 10)
        assert not is_closed.is_set()
        is_released.set()
        await until(is_closed.is_set)
        await until(lambda: not run_threads())


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
        for _ in range(2):
            with pytest.raises(RuntimeError, match="cancelled"):
                await asyncio.wait_for(anext(embeddings), 10)
    assert first.failure is None


class Closable(Iterator[Text]):
    """An iterator with `close` that is no generator."""

    is_closed = False

    def __next__(self) -> Text:
        return Text("a")

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("how", ["run", "client"])
async def test_the_iterator_of_a_run_that_has_not_begun_is_closed(connect: Connect, how: str) -> None:
    """Leaving a run, or a client and then its run, closes the iterator although nothing was read from it."""
    inputs = Closable()
    async with connect(NO_SERVER) as client, client.map("m", inputs):
        if how == "client":
            await client.close()
    assert inputs.is_closed


async def test_an_async_iterator_of_a_run_that_has_not_begun_is_closed() -> None:
    """Leaving a run closes an asynchronous iterator although nothing was read from it."""
    inputs = Inputs()
    async with AsyncClient(NO_SERVER) as client, client.map("m", inputs):
        pass
    assert inputs.is_closed
