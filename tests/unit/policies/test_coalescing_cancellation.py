"""Callers of coalesced inputs that leave: the request ends with the last of them."""

import asyncio

import pytest

from embedwire_server.core.results import CacheStatus, ReplySummary
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.testing import Attempt, ScriptedUpstream
from tests.support.embed_calls import ANSWER, KEYS, call, gathered, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.test_coalescing import coalescing

MISS, COALESCED = CacheStatus.MISS, CacheStatus.COALESCED


@pytest.mark.parametrize("leaving", [0, 1, 2])
@in_virtual_time
async def test_a_caller_leaves(leaving: int) -> None:
    """The others get the answer of the same attempt, also if the first caller leaves."""
    upstream, scripted = coalescing()
    tasks = start(upstream, *[call() for _ in range(3)])
    await settled()
    tasks[leaving].cancel()
    await settled()
    scripted.attempts[0].succeed()
    found = await gathered(tasks)

    assert [isinstance(one, asyncio.CancelledError) for one in found] == [index == leaving for index in range(3)]
    assert found.count(ANSWER) == 2
    assert len(scripted.attempts) == 1


@in_virtual_time
async def test_all_callers_leave() -> None:
    """The attempt is cancelled, and the last caller waits until it has released its resources."""
    released: list[float] = []

    async def slow_to_release(_: Attempt) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            released.append(now())

    policy = CoalescingPolicy(ScriptedUpstream(slow_to_release), KEYS)
    tasks = start(policy, call(), call())
    await settled()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks[:1])
    assert not released
    await asyncio.wait(tasks[1:])

    assert released == [3]
    assert all(task.cancelled() for task in tasks)
    assert not policy._flights
    assert not policy._tasks


@in_virtual_time
async def test_a_caller_after_the_last_has_left() -> None:
    """It does not join the attempt that is being cancelled."""

    async def slow_to_release(attempt: Attempt) -> None:
        try:
            await attempt.answer
        finally:
            await asyncio.sleep(3)

    scripted = ScriptedUpstream(slow_to_release)
    upstream = CoalescingPolicy(scripted, KEYS)
    [first] = start(upstream, call())
    await settled()
    first.cancel()
    await settled()
    [second] = start(upstream, call())
    await settled()
    assert len(scripted.attempts) == 2
    scripted.attempts[1].answer.set_result(((), ReplySummary("second")))
    [third] = start(upstream, call())

    assert (await second).summary.model_name == (await third).summary.model_name == "second"
    assert len(scripted.attempts) == 2


@in_virtual_time
async def test_cancelled_before_the_first_step() -> None:
    """A caller that is cancelled in the same iteration in which it has started the flight leaves nothing behind."""
    upstream, scripted = coalescing()
    [task] = start(upstream, call())
    while not upstream._flights:
        await asyncio.sleep(0)
    task.cancel()
    await gathered([task])
    assert not upstream._flights
    [task] = start(upstream, call())
    await settled()
    scripted.attempts[-1].succeed()

    assert await task == ANSWER


@pytest.mark.parametrize("leaves_first", [True, False])
@in_virtual_time
async def test_cancelled_with_the_answer(leaves_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A caller that is cancelled in the iteration in which the answer arrives leaves; the other gets the answer."""
    upstream, scripted = coalescing()
    tasks = start(upstream, call(), call())
    await settled()
    if leaves_first:
        tasks[0].cancel()
    scripted.attempts[0].succeed()
    for _ in range(3):
        await asyncio.sleep(0)
        tasks[0].cancel()

    assert await tasks[1] == ANSWER
    assert isinstance((await gathered(tasks[:1]))[0], asyncio.CancelledError)
