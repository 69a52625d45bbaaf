"""The exponential back-off, for responses without a usable hint."""

import asyncio
import itertools

import pytest

from embedwire_server.core.errors import UpstreamFailure
from tests.support.embed_calls import call, embedded, gathered, limited, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import OK, Bench


@in_virtual_time
async def test_exponential_back_off() -> None:
    """Without a usable hint the back-off is 1 s, doubled up to 60 s, each ended by one probe."""
    bench = Bench()
    holds: list[float] = []
    await bench.answered(call(), limited())
    for _ in range(9):
        held = now()
        waiting = start(bench.limited_upstream, call(), call())
        while len(bench.attempts) < len(holds) + 2:
            await asyncio.sleep(0.01)
        await settled()
        assert len(bench.attempts) == len(holds) + 2
        holds.append(bench.attempts[-1].at - held)
        waiting[1].cancel()
        bench.attempts[-1].fail(limited())
        await gathered(waiting)

    for hold, expected in zip(holds, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert expected <= hold <= expected * 1.2


@in_virtual_time
async def test_refusals_of_one_back_off_count_once() -> None:
    """Twenty requests in flight that are all refused double the back-off once."""
    bench = Bench()
    tasks = start(bench.limited_upstream, *[call() for _ in range(20)])
    await asyncio.sleep(0.1)
    for attempt in bench.attempts:
        attempt.fail(limited())
    failures = await gathered(tasks)
    assert all(1 <= failure.retry_delay <= 1.2 for failure in failures)
    bench.upstream.script = OK
    await embedded(bench.limited_upstream, call())

    assert 1.1 <= bench.attempts[-1].at <= 1.3


@in_virtual_time
async def test_success_resets_the_back_off() -> None:
    """A success resets the back-off to 1 s, unless it was sent before the back-off began."""
    bench = Bench()
    old = start(bench.limited_upstream, call(), call())
    await settled()
    await bench.answered(call(), limited())
    await asyncio.sleep(2)
    await bench.answered(call(), limited())
    held = now()
    bench.attempts[0].succeed()
    await asyncio.sleep(3)
    await bench.answered(call(), limited())
    third = now()
    [probe] = start(bench.limited_upstream, call())
    await asyncio.sleep(6)
    assert 4 <= bench.attempts[-1].at - third <= 4.8
    bench.attempts[-1].succeed()
    await probe
    await bench.answered(call(), limited())
    held = now()
    bench.upstream.script = OK
    await embedded(bench.limited_upstream, call())

    assert 1 <= bench.attempts[-1].at - held <= 1.2
    bench.attempts[1].succeed()
    await gathered(old)


@in_virtual_time
async def test_long_exponential_back_off() -> None:
    """After any number of refusals the back-off stays 60 s."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited())
    for _ in range(3000):
        with pytest.raises(UpstreamFailure):
            await embedded(bench.limited_upstream, call())

    assert 60 <= bench.attempts[-1].at - bench.attempts[-2].at <= 72


@pytest.mark.parametrize("hint", [0.0, 0.001, 0.1, 1.0, 2.0])
@in_virtual_time
async def test_hints_that_are_too_short(hint: float) -> None:
    """A first hint is followed exactly, 0 as 1 s; after a second refusal single requests go, up to 5 s apart."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(hint))

    async def persistent() -> None:
        while now() < 60:
            with pytest.raises(UpstreamFailure):
                await embedded(bench.limited_upstream, call())

    await asyncio.gather(*(persistent() for _ in range(64)))
    attempts = [attempt.at for attempt in bench.attempts if attempt.at < 60]
    steps = [after - before for before, after in itertools.pairwise(sorted(set(attempts)))]
    assert (steps[0] == pytest.approx(hint)) if hint else 1 <= steps[0] <= 1.2
    assert all(before <= after * 1.2 for before, after in itertools.pairwise(steps))
    assert 5 <= steps[-1] <= 6
    assert len(attempts) < 2 * 64 + 20


@in_virtual_time
async def test_a_hint_longer_than_the_back_off() -> None:
    """A hint longer than the back-off is followed exactly, however often it is repeated."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(30))
    for _ in range(6):
        with pytest.raises(UpstreamFailure) as caught:
            await embedded(bench.limited_upstream, call())
        assert caught.value.retry_delay == pytest.approx(30)

    assert bench.times == pytest.approx([0, 30, 60, 90, 120, 150])
