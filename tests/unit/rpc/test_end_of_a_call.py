"""How a call is ended: by its timer, from outside, by an exception within, and by its caller."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from embedwire_server.core.errors import DeadlineExceeded, Draining, GatewayError, Overloaded
from embedwire_server.rpc.call_context import Call
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.rpc.timed_calls import FOREVER, Context, a_call, sleeping, writer_of


async def _returns(_: Call) -> None:
    await asyncio.sleep(1)


async def _fails(_: Call) -> None:
    raise ValueError


async def _is_ended(call: Call) -> None:
    call.end(Draining())
    await asyncio.sleep(FOREVER)


async def _is_late(call: Call) -> None:
    await writer_of(call, Context()).write(b"")


@pytest.mark.parametrize("run", [_returns, _fails, _is_ended, _is_late])
@in_virtual_time
async def test_nothing_is_left_after_the_block(run: Callable[[Call], Any]) -> None:
    """After any exit from the block the task is not cancelled, no timer runs and the call is not referenced."""
    call, never_entered = a_call(20, stall=30), a_call()
    await outcome(call, run)
    call.end(Overloaded("too late"))
    await asyncio.sleep(0)  # asyncio references a CancelledError until the task resumes
    assert sys.getrefcount(call) == sys.getrefcount(never_entered)
    assert cancellations() == 0
    await asyncio.sleep(100)


def cancellations() -> int:
    """Return the number of pending cancellations of the running task."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def outcome(call: Call, run: Callable[[Call], Any]) -> type[BaseException] | None:
    """Return the exception or result of the block."""
    try:
        with call:
            await run(call)
    except (GatewayError, ValueError) as error:
        error.__traceback__ = error.__context__ = None  # as the interceptor does: their frames reference the call
        return type(error)
    return None


@in_virtual_time
async def test_the_outcomes_of_the_block() -> None:
    """The block raises what was raised within, or the failure with which the call was ended."""
    expected = {_returns: None, _fails: ValueError, _is_ended: Draining, _is_late: DeadlineExceeded}
    assert {run: await outcome(a_call(20, stall=30), run) for run in expected} == expected


@in_virtual_time
async def test_an_end_while_nothing_waits() -> None:
    """A call that is ended while its task runs ends at its next wait, with the first failure."""
    call, failure, reached = a_call(), Draining(), list[str]()

    async def run() -> None:
        with call:
            call.end(failure)
            call.end(Overloaded("later"))
            reached.append("before")
            await asyncio.sleep(0)
            reached.append("after")

    with pytest.raises(Draining) as caught:
        await run()
    assert caught.value is failure
    assert reached == ["before"]


@in_virtual_time
async def test_an_end_of_a_task_that_is_about_to_go_on() -> None:
    """A call is ended although the future that it awaits is already done."""
    call, is_there = a_call(), asyncio.Event()

    async def run() -> None:
        with call:
            await is_there.wait()

    task = asyncio.create_task(run())
    await settled()
    is_there.set()
    call.end(Draining())
    with pytest.raises(Draining):
        await task


@in_virtual_time
async def test_an_end_outside_the_block() -> None:
    """Ending a call before its block is entered or after it is left does nothing."""
    call = a_call()
    call.end(Draining())
    await sleeping(call, 1)
    call.end(Draining())
    await asyncio.sleep(1)


@in_virtual_time
async def test_a_failure_that_is_raised_within_wins() -> None:
    """A GatewayError raised in the block, also because of the cancellation, is the failure of the call."""
    call, failure = a_call(5), Overloaded("full")

    async def run() -> None:
        with call:
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                raise failure from None

    with pytest.raises(Overloaded) as caught:
        await run()
    assert caught.value is failure
    assert cancellations() == 0


@in_virtual_time
async def test_a_cancellation_by_the_caller() -> None:
    """A cancellation by the caller is not reported as the deadline."""
    task = asyncio.create_task(sleeping(a_call(5)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("is_ended_first", [True, False])
@in_virtual_time
async def test_a_cancellation_in_the_moment_of_the_end(*, is_ended_first: bool) -> None:
    """A cancellation by the caller at the same time as the end of the call is a cancellation."""
    call = a_call()
    task = asyncio.create_task(sleeping(call))
    await settled()
    if is_ended_first:
        call.end(Draining())
    task.cancel()
    if not is_ended_first:
        call.end(Draining())
    with pytest.raises(asyncio.CancelledError):
        await task


@in_virtual_time
async def test_a_leaked_cancellation() -> None:
    """A CancelledError of a library is raised unchanged and not taken for the end of the call."""
    call = a_call()

    async def run() -> None:
        with call:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run()


@in_virtual_time
async def test_a_timeout_within() -> None:
    """asyncio.timeout within the block and the end of the call do not swallow each other's cancellations."""
    call = a_call(5)

    async def run() -> None:
        with call:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    await asyncio.sleep(FOREVER)
            async with asyncio.timeout(30):
                await asyncio.sleep(FOREVER)

    with pytest.raises(DeadlineExceeded):
        await run()
    assert now() == pytest.approx(5, abs=0.01)
