"""Ends of a run of `map` before all inputs have ended: timeouts, a consumer that stops, a client that is closed."""

import asyncio
import gc
import io
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from embedwire import AsyncClient, Audio, Client, ClosedError, DeadlineExceededError, Embedding, Image, Text
from tests.e2e.client.callers import Connect, Embeddings, mapped
from tests.e2e.client.hanging import hang, slow
from tests.e2e.client.services import Recorder, rejection
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, until


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
        embeddings = client.map("marengo3.0", asked, inputs_per_call=2, concurrent_calls=2, run_timeout=3)
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
        embeddings = client.map("m", blocked(), run_timeout=3)
        first = await anext(embeddings)
        with pytest.raises(DeadlineExceededError):
            await asyncio.wait_for(anext(embeddings), 10)
        is_over.set()
    assert first.failure is None


async def test_the_timeout_of_the_run_cancels_its_calls(connect: Connect, scripted: Scripted) -> None:
    """At run_timeout calls are cancelled and threads end, also if the iterator was at its end."""
    async with scripted(hang) as (served, upstream), connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", [Text("slow")], run_timeout=3)
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
    """If no thread can be started, the first request for an embedding raises that; none waits for ever."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Client(NO_SERVER) as client:
        embeddings = client.map("m", [Text("a")])
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            next(embeddings)
        assert list(embeddings) == []
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
    """If the client is closed, a pending request for an embedding raises ClosedError, and so does a new run."""
    async with scripted(hang) as (served, _), connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", (Text(f"slow {number}") for number in itertools.count()))
        unread = client.map("marengo3.0", [Text("a")])
        waiting = asyncio.create_task(anext(embeddings))
        await until(lambda: served.metric("embedwire_inputs_in_flight") > 0)
        await client.close()
        for pending in (waiting, anext(unread)):
            with pytest.raises(ClosedError, match="the client is closed"):
                await asyncio.wait_for(pending, 10)
        assert await anext(embeddings, None) is None
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
    """A run is left immediately although the source of an upload blocks; its thread ends with the source."""
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
    """A run is left immediately although the iterator of its inputs blocks; the iterator is closed when it returns."""
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


async def test_no_inputs_need_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of an empty list ends well with a timeout of 0, and starts no thread that could be late."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("a thread was started")

    async with AsyncClient(NO_SERVER) as other:
        assert [each async for each in other.map("m", (), run_timeout=0)] == []
    with Client(NO_SERVER) as client:
        embeddings = client.map("m", [], run_timeout=0)
        monkeypatch.setattr(threading.Thread, "start", start)
        assert list(embeddings) == []
        monkeypatch.undo()


@pytest.mark.parametrize("name", ["timeout", "run_timeout"])
def test_a_timeout_that_is_no_float(name: str) -> None:
    """A timeout beyond the range of floats is a ValueError that names the option."""
    with Client(NO_SERVER) as client, pytest.raises(ValueError, match=f"^{name}: must be at most 1.79"):
        client.map("m", [], **{name: 10**400})  # type: ignore[arg-type]
