"""The drain gate: how long it holds new calls."""

import asyncio

from embedwire_server.rpc import drain
from tests.support.virtual_time import VirtualLoop, in_virtual_time, now


async def late(times: int) -> None:
    """Make the event loop late by 0.1 s a number of times."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for _ in range(times):
        loop.pass_time(0.1)
        await asyncio.sleep(0.001)


@in_virtual_time
async def test_a_hold_ends_after_quiet_polls() -> None:
    """Without calls, the gate holds for the quiet polls only."""
    began = now()
    await drain.DrainGate().hold()
    assert 0.1 < now() - began < 0.2


@in_virtual_time
async def test_a_hold_is_longer_while_the_loop_is_late() -> None:
    """Late polls are neither quiet nor counted, since calls may arrive late as well."""
    began, gate = now(), drain.DrainGate()
    lateness = asyncio.create_task(late(20))
    await gate.hold()
    await lateness
    assert 2.0 < now() - began < 2.5


@in_virtual_time
async def test_a_hold_lasts_until_long_calls_have_ended() -> None:
    """Callers whose calls to other replicas take up to a second arrive until then, and none after the hold."""
    gate = drain.DrainGate()
    gate.close()

    async def arrive(after: float) -> None:
        await asyncio.sleep(after)
        await gate.enter()

    callers = [asyncio.create_task(arrive(tenths / 10)) for tenths in range(11)]
    began = now()
    await gate.hold()
    assert 1.1 < now() - began < 1.3
    await gate.open()
    await asyncio.gather(*callers)


@in_virtual_time
async def test_a_hold_is_limited() -> None:
    """Calls that arrive without a pause end the hold after 150 polls; a loop that is always late, after 5 s."""
    gate = drain.DrainGate()

    async def arrivals() -> None:
        while True:
            arrived = asyncio.create_task(gate.enter())
            await asyncio.sleep(0.005)
            held.append(arrived)

    held: list[asyncio.Task[None]] = []
    gate.close()
    arriving, began = asyncio.create_task(arrivals()), now()
    await gate.hold()
    assert 1.4 < now() - began < 1.6
    arriving.cancel()
    await gate.open()
    await asyncio.gather(*held)

    lateness, began = asyncio.create_task(late(1000)), now()
    await gate.hold()
    assert 5 <= now() - began < 5.5
    lateness.cancel()


@in_virtual_time
async def test_a_pause_is_longer_while_the_loop_is_late() -> None:
    """A pause has a number of polls that are on time."""
    began, lateness = now(), asyncio.create_task(late(10))
    await drain.pause(5)
    await lateness
    assert 1.0 < now() - began < 1.2
