"""gRPC's batches: whoever awaits one, and however that ends, it is finished."""

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
# A call that gRPC's own loop accepts gets the first kind.
either = pytest.mark.parametrize("future", [_of_loop, _of_operation])


class Batch:
    """Awaits a future in the place of gRPC's core, and frees what it holds when that returns."""

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
    """What is awaited returns what the batch returns."""
    task = await begun(batch := Batch(future))
    batch.future.set_result(None)
    assert await task == "read"


async def test_its_failure_is_that_of_the_batch() -> None:
    """What the batch raises is raised."""
    task = await begun(batch := Batch(_of_loop))
    batch.future.set_exception(ConnectionError())
    with pytest.raises(ConnectionError):
        await task


@either
async def test_who_is_cancelled_does_not_wait_and_the_batch_is_finished(future: Make) -> None:
    """Cancelled before the batch is done, the task ends at once; the batch is freed when it is done."""
    task = await begun(batch := Batch(future))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not batch.is_freed
    batch.future.set_result(None)
    await asyncio.sleep(0)
    assert batch.is_freed


@either
async def test_who_is_cancelled_as_the_batch_is_done_is_cancelled(future: Make) -> None:
    """Cancelled in the same turn of the loop, the task ends, and the batch is freed."""
    task = await begun(batch := Batch(future))
    batch.future.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert batch.is_freed


@either
async def test_time_can_be_up(future: Make) -> None:
    """A timeout around it is a timeout, as around any await."""
    batch = Batch(future)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await batch_leak.complete_operation(batch.run())
    batch.future.set_result(None)
    await asyncio.sleep(0)
    assert batch.is_freed


async def test_a_batch_that_fails_is_freed() -> None:
    """The futures that gRPC is given do not fail, so that whoever awaits them goes on to free the batch."""
    task = await begun(batch := Batch(_of_operation))
    batch.future.set_exception(ConnectionError())
    assert await task == "read"
    assert batch.is_freed


@either
async def test_two_cancellations_at_once_wake_the_task_once(future: Make) -> None:
    """A task that is cancelled twice in one round of the event loop can clean up, as one that awaits a future."""
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
