"""The timer of a call, for its deadline and its running write."""

import asyncio

import pytest

from embedwire_server.core.errors import CallerStalled, DeadlineExceeded
from tests.support.virtual_time import in_virtual_time, now
from tests.unit.rpc.timed_calls import FOREVER, Context, a_call, sleeping, writer_of, writing


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
