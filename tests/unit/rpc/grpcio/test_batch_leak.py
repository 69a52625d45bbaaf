"""The workaround for the leak of batches in grpcio: every batch is completed, however its await ends."""

import asyncio
from collections.abc import Callable

import pytest

from embedwire_server.rpc.grpcio import batch_leak

pytestmark = pytest.mark.asyncio


def _of_loop() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


def _of_operation() -> "asyncio.Future[None]":
    return batch_leak.operation_futures(asyncio.get_running_loop()).create_future()


Make = Callable[[], "asyncio.Future[None]"]
# Calls that grpcio's own accept loop creates use the first kind.
either = pytest.mark.parametrize("future", [_of_loop, _of_operation])


class Batch:
    """Awaits a future in place of grpcio's core, and is freed when that returns."""

    def __init__(self, future: Make) -> None:
        self.future = future()
        self.is_freed = False

    async def run(self) -> str:
        await self.future
        self.is_freed = True
        return "read"


async def begun(batch: Batch) -> "asyncio.Task[str]":
    async def awaiting() -> str:
        return await batch_leak.complete_operation(batch.run())

    task = asyncio.create_task(awaiting())
    await asyncio.sleep(0)
    return task


@either
async def test_its_result_is_that_of_the_batch(future: Make) -> None:
    """The result of the batch is returned."""
    task = await begun(batch := Batch(future))
    batch.future.set_result(None)
    assert await task == "read"


async def test_its_failure_is_that_of_the_batch() -> None:
    """The exception of the batch is raised."""
    task = await begun(batch := Batch(_of_loop))
    batch.future.set_exception(ConnectionError())
    with pytest.raises(ConnectionError):
        await task


@either
async def test_cancellation_before_the_batch_is_done(future: Make) -> None:
    """A task cancelled before its batch is done ends immediately, and the batch is freed when it is done."""
    task = await begun(batch := Batch(future))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not batch.is_freed
    batch.future.set_result(None)
    await asyncio.sleep(0)
    assert batch.is_freed


@either
async def test_cancellation_as_the_batch_is_done(future: Make) -> None:
    """A task cancelled in the loop iteration in which its batch is done is cancelled, and the batch is freed."""
    task = await begun(batch := Batch(future))
    batch.future.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert batch.is_freed


@either
async def test_timeout(future: Make) -> None:
    """asyncio.timeout raises TimeoutError, and the batch is freed when it is done."""
    batch = Batch(future)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await batch_leak.complete_operation(batch.run())
    batch.future.set_result(None)
    await asyncio.sleep(0)
    assert batch.is_freed


async def test_a_batch_that_fails_is_freed() -> None:
    """An operation future does not raise, so that grpcio frees the batch."""
    task = await begun(batch := Batch(_of_operation))
    batch.future.set_exception(ConnectionError())
    assert await task == "read"
    assert batch.is_freed


@either
async def test_two_cancellations_at_once_wake_the_task_once(future: Make) -> None:
    """A task cancelled twice in one loop iteration can clean up, as one that awaits a plain future."""
    has_cleaned_up = False
    batch = Batch(future)

    async def awaiting() -> None:
        nonlocal has_cleaned_up
        try:
            await batch_leak.complete_operation(batch.run())
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0)
            has_cleaned_up = True
            raise

    task = asyncio.create_task(awaiting())
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_cleaned_up


@pytest.mark.parametrize("end", [lambda of: of.set_result(None), lambda of: of.set_exception(ConnectionError())])
async def test_an_operation_that_ends_after_its_event_loop(end: Callable[["asyncio.Future[None]"], None]) -> None:
    """Completing an operation whose event loop is closed does nothing, although a task has waited for it."""
    loop = asyncio.new_event_loop()
    future = batch_leak.operation_futures(loop).create_future()
    future.add_done_callback(lambda _: None)
    loop.close()
    end(future)
