"""Groups of coroutines that run concurrently and end together."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from embedwire_server.core.errors import InternalError
from embedwire_server.gateway.task_group import run_together


@pytest.fixture(autouse=True)
async def _silent_loop() -> AsyncGenerator[None]:
    """Fail if the event loop's exception handler is called, as for an exception that was never retrieved."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    yield
    gc.collect()
    assert reported == []


class Jobs:
    """Makes coroutines and records which run and which have ended."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.ended: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, name: str, failure: BaseException | None = None, at_the_end: int = 1) -> None:
        """Run until released, or fail immediately; the cleanup takes this many iterations of the loop."""
        self.running.add(name)
        try:
            if failure is not None:
                raise failure
            await self.may_end.wait()
        finally:
            try:
                for _ in range(at_the_end):  # cleanup that must be awaited
                    await asyncio.sleep(0)
            finally:
                self.running.remove(name)
                self.ended.append(name)


async def settled() -> None:
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def begun(*coroutines: Coroutine[object, object, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(run_together(*coroutines))
    await settled()
    return task


@pytest.mark.parametrize("names", ["a", "abc"], ids=["single", "several"])
async def test_all_run_at_the_same_time(names: str) -> None:
    """All coroutines start before any ends, and the group returns when all have ended."""
    jobs = Jobs()
    task = await begun(*map(jobs, names))
    assert jobs.running == set(names)
    assert not task.done()
    jobs.may_end.set()
    await task
    assert sorted(jobs.ended) == list(names)


async def test_one_that_returns_ends_no_other() -> None:
    """A coroutine that returns ends no other, and the group returns after the last one."""
    jobs = Jobs()

    async def short() -> None:
        jobs.ended.append("short")

    task = await begun(short(), jobs("long"))
    assert jobs.ended == ["short"]
    assert not task.done()
    jobs.may_end.set()
    await task
    assert jobs.ended == ["short", "long"]


@pytest.mark.parametrize("others", ["", "bc"], ids=["single", "several"])
async def test_the_first_failure_ends_all(others: str) -> None:
    """The first failure cancels the others, waits for their end and is raised unchanged."""
    jobs, failure = Jobs(), ValueError("first")
    with pytest.raises(ValueError, match="first") as caught:
        await run_together(jobs("a", failure), *[jobs(name, at_the_end=5) for name in others])
    assert caught.value is failure
    assert jobs.running == set()
    assert sorted(jobs.ended) == ["a", *others]


async def test_a_later_failure_is_not_raised() -> None:
    """Of several failures the first one is raised."""
    jobs = Jobs()
    with pytest.raises(ValueError, match="first"):
        await run_together(jobs("a", KeyError("second"), at_the_end=5), jobs("b", ValueError("first"), at_the_end=0))
    assert jobs.running == set()


async def test_failure_while_ending() -> None:
    """A failure of a coroutine that is being cancelled does not replace the first failure."""

    async def bad() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("ending")

    with pytest.raises(ValueError, match="cause"):
        await run_together(bad(), Jobs()("b", ValueError("cause")))


@pytest.mark.parametrize("names", ["a", "abc"], ids=["single", "several"])
async def test_cancellation(names: str) -> None:
    """Cancellation cancels all coroutines and waits for their end."""
    jobs = Jobs()
    task = await begun(*[jobs(name, at_the_end=5) for name in names])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert jobs.running == set()
    assert sorted(jobs.ended) == list(names)


async def test_failure_of_one_that_is_cancelled() -> None:
    """A cancellation is raised although a coroutine fails during its cleanup."""

    async def bad() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("ending")

    jobs = Jobs()
    task = await begun(bad(), jobs("b"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert jobs.running == set()


async def test_cancellation_while_the_others_end() -> None:
    """A cancellation during the cleanup after a failure is raised without waiting for the rest."""
    is_free = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await is_free.wait()

    task = await begun(slow(), Jobs()("b", ValueError("first")))
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    is_free.set()
    await settled()


async def test_a_second_cancellation_does_not_wait() -> None:
    """The first cancellation waits for cleanup, the second one does not."""
    is_free, has_ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await is_free.wait()
            has_ended.set()

    task = await begun(slow())
    task.cancel()
    await settled()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not has_ended.is_set()
    is_free.set()
    await asyncio.wait_for(has_ended.wait(), 10)
    await settled()


@pytest.mark.parametrize("others", ["", "bc"], ids=["single", "several"])
async def test_a_leaked_cancellation_is_a_failure(others: str) -> None:
    """A CancelledError that a coroutine itself raises becomes INTERNAL and ends the others."""
    jobs = Jobs()
    with capture_logs() as logs, pytest.raises(InternalError):
        await asyncio.wait_for(run_together(jobs("a", asyncio.CancelledError()), *map(jobs, others)), 10)
    assert jobs.running == set()
    assert sorted(jobs.ended) == ["a", *others]
    assert [log["error_type"] for log in logs] == ["asyncio.exceptions.CancelledError"]


async def test_no_task_is_left() -> None:
    """The group leaves no task behind, however it ends."""
    before = asyncio.all_tasks()
    jobs = Jobs()
    with pytest.raises(ValueError, match="first"):
        await run_together(jobs("a"), jobs("b", ValueError("first")), jobs("c"))
    assert asyncio.all_tasks() == before
