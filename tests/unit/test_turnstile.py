"""Who passes when."""

import asyncio
from collections import Counter

import pytest

from embedwire_server.upstream.turnstile import Turnstile

pytestmark = pytest.mark.asyncio


async def passed(count: int, leavers: slice = slice(0)) -> list[tuple[int, int]]:
    """The round in which each of so many passed, by number; some of them leave before they may."""
    turnstile, order, rounds = Turnstile(), list[tuple[int, int]](), 0
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    async def work(number: int) -> None:
        await turnstile.passage()
        order.append((rounds, number))

    tasks = [asyncio.create_task(work(number)) for number in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        rounds += 1
        for task in tasks[leavers]:
            task.cancel()
    assert not faults
    return order


async def test_one_in_each_round() -> None:
    """Of a few who come at once one passes in each round of the loop, in the order in which they came."""
    order = await passed(8)
    assert [number for _, number in order] == list(range(8))
    assert max(Counter(at for at, _ in order).values()) == 1


async def test_several_if_many_wait() -> None:
    """Of many who wait several pass in a round, so that the last does not wait for as many rounds as there are."""
    order = await passed(200)
    assert [number for _, number in order] == list(range(200))
    assert order[-1][0] < 120
    assert max(Counter(at for at, _ in order).values()) == 13


async def test_who_leaves_holds_up_nobody() -> None:
    """The turn of somebody who was cancelled is the next one's; all others pass."""
    order = await passed(20, slice(5, 15))
    assert [number for _, number in order] == [*range(5), *range(15, 20)]


async def test_nobody_waits_alone() -> None:
    """Who comes when nobody has passed in this round does not wait at all."""
    turnstile = Turnstile()
    for _ in range(3):
        with pytest.raises(StopIteration):
            turnstile.passage().send(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
