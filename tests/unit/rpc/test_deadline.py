"""The timer of a call, for its deadline and its running write, and how it ends the call."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from embedwire_server.core.errors import CallerStalled, DeadlineExceeded, Draining, GatewayError, Overloaded
from embedwire_server.rpc.call_context import Call
from embedwire_server.rpc.deadline import DefaultDeadlines
from embedwire_server.rpc.flow_control import MessageWriter
from tests.support.virtual_time import in_virtual_time, now, settled

FOREVER = 1e6


def a_call(remaining: float | None = FOREVER, stall: float = FOREVER, text: float = 60, audio: float = 600) -> Call:
    return Call("id", "service", remaining, DefaultDeadlines(text, audio), stall, is_ours=True)


class Context:
    """A servicer context that takes some seconds for each message."""

    def __init__(self, seconds: float = FOREVER) -> None:
        self.seconds = seconds

    async def write(self, _: object) -> None:
        await asyncio.sleep(self.seconds)


def writer_of(call: Call, context: Context) -> MessageWriter:
    taken: Any = context

    async def complete(operation: Any) -> Any:
        return await operation

    return MessageWriter(taken, call, bytes, complete, complete)


async def sleeping(call: Call, seconds: float = FOREVER) -> None:
    """Sleep within the block of a call."""
    with call:
        await asyncio.sleep(seconds)


async def writing(call: Call, context: Context, start: float = 0, pause: float = 0) -> None:
    """Write messages in sequence within the block of a call, beginning at some time."""
    writer = writer_of(call, context)
    with call:
        await asyncio.sleep(start)
        while True:
            await writer.write(b"")
            await asyncio.sleep(pause)


@in_virtual_time
async def test_the_deadline_comes_first() -> None:
    """A call past its deadline ends with DEADLINE_EXCEEDED, also during a write that has not timed out."""
    with pytest.raises(DeadlineExceeded):
        await writing(a_call(5, stall=6), Context())
    assert now() == pytest.approx(5, abs=0.01)


@in_virtual_time
async def test_the_stall_comes_first() -> None:
    """A call whose peer reads nothing ends with CALLER_STALLED, measured from the start of the write."""
    with pytest.raises(CallerStalled):
        await writing(a_call(60, stall=5), Context(), start=7)
    assert now() == pytest.approx(12, abs=0.01)


@in_virtual_time
async def test_each_write_counts_from_its_own_start() -> None:
    """Durations of writes are not added up: only the deadline ends a call whose writes end in time."""
    with pytest.raises(DeadlineExceeded):
        await writing(a_call(1000, stall=5), Context(4.5), pause=0.7)
    assert now() == pytest.approx(1000, abs=0.01)


@in_virtual_time
async def test_the_write_that_gets_stuck() -> None:
    """After writes that end in time, one that does not ends the call at its own timeout."""
    context = Context(3)
    asyncio.get_running_loop().call_at(98.5, setattr, context, "seconds", FOREVER)  # from the 34th write on, at 99
    with pytest.raises(CallerStalled):
        await writing(a_call(1000, stall=5), context)
    assert now() == pytest.approx(104, abs=0.01)


@in_virtual_time
async def test_a_call_that_writes_nothing_does_not_stall() -> None:
    """Only a write can time out; other waits are limited by the deadline alone."""
    await sleeping(a_call(1000, stall=5), 900)
    with pytest.raises(DeadlineExceeded):
        await sleeping(a_call(1000, stall=5))
    assert now() == pytest.approx(1900, abs=0.01)


@in_virtual_time
async def test_a_write_that_was_given_up_is_not_watched() -> None:
    """After a cancelled write the call is limited by the deadline alone."""
    call = a_call(1000, stall=5)
    writer = writer_of(call, Context())
    with call:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await writer.write(b"")
        await asyncio.sleep(10)
    assert now() == pytest.approx(14, abs=0.01)


@pytest.mark.parametrize(
    ("remaining", "text", "audio", "end"),
    [
        pytest.param(None, 60, 600, 600, id="later"),
        pytest.param(None, 600, 60, 60, id="earlier"),
        pytest.param(30, 60, 600, 30, id="set by the caller"),
    ],
)
@in_virtual_time
async def test_audio_moves_the_deadline(remaining: float | None, text: float, audio: float, end: float) -> None:
    """The default deadline is replaced by that of audio, and a deadline of the caller is kept."""
    call = a_call(remaining, text=text, audio=audio)

    async def run() -> None:
        with call:
            await asyncio.sleep(10)
            call.allow_for_audio()
            await asyncio.sleep(FOREVER)

    with pytest.raises(DeadlineExceeded):
        await run()
    assert now() == call.deadline == pytest.approx(end, abs=0.01)


@pytest.mark.parametrize(
    ("remaining", "end"),
    [
        pytest.param(None, 3600, id="default"),
        pytest.param(300, 299, id="set by the caller"),
        pytest.param(5, 4.5, id="soon"),
        pytest.param(1, 1, id="passed"),
    ],
)
@in_virtual_time
async def test_a_task_moves_the_deadline(remaining: float | None, end: float) -> None:
    """With a task, a call ends a little before its caller's deadline, so that its failure reaches the caller."""
    call = a_call(remaining)

    async def run() -> None:
        with call:
            await asyncio.sleep(2)
            call.allow_for_task()
            call.allow_for_task()  # at each stage
            await asyncio.sleep(FOREVER)

    with pytest.raises(DeadlineExceeded):
        await run()
    assert now() == pytest.approx(end, abs=0.01)


@in_virtual_time
async def test_a_stall_is_seen_also_after_the_deadline_has_moved() -> None:
    """The timer that was rescheduled for audio still limits writes."""
    call = a_call(None, stall=5)

    async def run() -> None:
        with call:
            await asyncio.sleep(3)
            call.allow_for_audio()
            await writer_of(call, Context()).write(b"")

    with pytest.raises(CallerStalled):
        await run()
    assert now() == pytest.approx(8, abs=0.01)


@in_virtual_time
async def test_a_deadline_that_has_passed() -> None:
    """A call past its deadline on arrival ends at its first wait."""
    with pytest.raises(DeadlineExceeded):
        await sleeping(a_call(-5))
    assert now() == pytest.approx(0, abs=0.01)


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
