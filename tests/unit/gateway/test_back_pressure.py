"""Back-pressure of the reply on the upstream."""

import asyncio

import pytest

from embedwire_server.testing import Attempt
from tests.unit.gateway.support import Bench, Recorder, cancelled, good, numbered, settled, stuck, text


@pytest.mark.parametrize("at_once", [1, 2, 4])
async def test_back_pressure(at_once: int) -> None:
    """A reply that accepts no segments stops each upstream before it decodes more than one further batch."""
    emitted = dict.fromkeys("abcdef", 0)

    async def script(attempt: Attempt) -> None:
        for number in range(1000):
            emitted[attempt.call.input.key] += 1
            await attempt.emit([numbered(number)])

    bench, reply = Bench(at_once, others=script), Recorder()
    task = bench.begin(*map(text, "abcdef"), reply=reply)
    while len(reply.segments) < 20:
        await asyncio.sleep(0)
    reply.is_open.clear()
    await settled()
    before = dict(emitted)
    taken = {key: len(reply.numbers(key)) for key in emitted}
    await settled()
    assert emitted == before
    assert all(count <= taken[key] + 1 for key, count in emitted.items())
    assert sum(emitted.values()) <= sum(taken.values()) + at_once
    await cancelled(task)


async def test_back_pressure_of_one_input() -> None:
    """A single input is decoded only as far as its segments are accepted."""
    bench, reply = Bench(a=stuck(1000)), Recorder()
    reply.is_open.clear()
    task = bench.begin(text("a"), reply=reply)
    await settled()
    assert reply.offered == 1
    await cancelled(task)


async def test_inputs_add_to_the_reply_one_at_a_time() -> None:
    """Additions to the reply are serialized: the other inputs wait."""
    bench, reply = Bench(others=good(5)), Recorder()
    await bench.embed(*map(text, "abcd"), reply=reply)
    assert bench.upstream.most_running == 4
    assert reply.most_adding == 1
    assert len(reply.order) == 4 * (5 + 1)
