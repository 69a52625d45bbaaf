"""The fake upstream that the package ships."""

import asyncio
import time

import pytest

from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.testing import Attempt, ScriptedUpstream
from tests.support.embed_calls import ANSWER, SEGMENT, Embedded, call, embedded, gathered, start, undecided
from tests.support.virtual_time import in_virtual_time, now, settled

SUMMARY = ReplySummary("m", truncated=True)


async def test_by_default_each_attempt_succeeds() -> None:
    """Without a script each attempt returns a zero vector of the model's length, for audio with an offset."""
    upstream = ScriptedUpstream()

    assert await embedded(upstream, call()) == ANSWER
    [[segment]] = (await embedded(upstream, call("audio"))).batches
    assert (segment.vector, segment.start_offset_sec) == (ANSWER.batches[0][0].vector, 0.0)


async def test_batches_and_summary() -> None:
    """An attempt emits the given batches in order and returns the given summary."""
    first, second = [SEGMENT], [SEGMENT, SEGMENT]
    upstream = ScriptedUpstream(lambda attempt: attempt.succeed(first, second, summary=SUMMARY, exhausted_for=3.0))
    wanted = call()

    assert await embedded(upstream, wanted) == Embedded([first, second], SUMMARY)
    assert wanted.exhausted_for == 3.0


async def test_segments_before_the_end() -> None:
    """A script may emit segments and end the attempt without more."""

    async def script(attempt: Attempt) -> None:
        await attempt.emit([SEGMENT])
        attempt.end(SUMMARY)

    assert await embedded(ScriptedUpstream(script), call()) == Embedded([[SEGMENT]], SUMMARY)


async def test_failures() -> None:
    """An attempt raises the given failure, and what the script raises."""
    failed, raised = ValueError("failed"), ValueError("raised")

    def script(attempt: Attempt) -> None:
        if len(upstream.attempts) == 2:
            raise raised
        attempt.fail(failed, exhausted_for=2.0)

    upstream = ScriptedUpstream(script)
    wanted = call()
    assert await gathered(start(upstream, wanted, call())) == [failed, raised]
    assert (wanted.exhausted_for, upstream.running) == (2.0, 0)


@in_virtual_time
async def test_recorded_attempts() -> None:
    """Attempts are recorded with call and time, running ones are counted, and calls have upstream and attempts."""
    upstream = ScriptedUpstream(undecided, "mine")
    calls = [call(), call(), call()]
    calls[0].exhausted_for = 9.0
    tasks = start(upstream, *calls[:2])
    await asyncio.sleep(3)
    tasks += start(upstream, calls[2])
    await settled()
    assert (upstream.running, upstream.most_running) == (3, 3)
    tasks[0].cancel()
    await gathered(tasks[:1])
    for attempt in upstream.attempts[1:]:
        attempt.succeed()
    await gathered(tasks)

    assert tasks[0].cancelled()
    assert [(attempt.call, attempt.at) for attempt in upstream.attempts] == list(zip(calls, [0, 0, 3], strict=True))
    assert [(one.attempts, one.upstream, one.exhausted_for) for one in calls] == [(1, "mine", 0.0)] * 3
    assert (upstream.running, upstream.most_running, now()) == (0, 3, 3)


@pytest.mark.parametrize("by", ["script", "answer"])
async def test_time_that_the_caller_takes_is_no_waiting(by: str) -> None:
    """While `emit` waits for the caller, which counts as parked, no time counts as waiting for the upstream."""

    async def emit(_: list[Segment]) -> None:
        with wanted.time("parked"):
            await asyncio.sleep(0.05)

    async def script(attempt: Attempt) -> None:
        if by == "script":
            await attempt.emit([SEGMENT])
            attempt.end()
        else:
            attempt.succeed([SEGMENT])

    wanted = call()
    began = time.perf_counter()
    await ScriptedUpstream(script).embed(wanted, emit)
    assert wanted.waiting + wanted.parked <= time.perf_counter() - began
