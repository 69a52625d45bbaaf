"""The single request that ends a long back-off."""

import asyncio

import pytest

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.policies.rate_limit.upstream_back_off import MAX_BACK_OFF
from tests.support.embed_calls import SEGMENT, call, gathered, limited, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import OK, Bench, bench_is_free


@pytest.mark.parametrize("asked", [3601.0, 7200.0, 1e6, 1e9, 1e300])
@in_virtual_time
async def test_long_back_off_ends_with_one_probe(asked: float) -> None:
    """A back-off lasts at most one hour; then one request is sent, and the others after its success."""
    bench = Bench()
    await bench.answered(call(), limited(asked))
    tasks = start(bench.limited_upstream, *[call() for _ in range(10)])
    await asyncio.sleep(MAX_BACK_OFF - 1)
    assert len(bench.attempts) == 1
    await asyncio.sleep(100)
    assert len(bench.attempts) == 2
    assert bench.attempts[1].at == pytest.approx(MAX_BACK_OFF)
    bench.upstream.script = OK
    bench.attempts[1].succeed()
    await asyncio.gather(*tasks)

    assert len(bench.attempts) == 11
    await bench_is_free(bench)


@pytest.mark.parametrize("hint", ["429", "200 with nothing left"])
@in_virtual_time
async def test_failed_probe_begins_a_new_back_off(hint: str) -> None:
    """After a refused probe no call is sent until the new back-off ends, and then one probe."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.limited_upstream, *[call() for _ in range(10)])
    await asyncio.sleep(MAX_BACK_OFF + 1)
    [_, probe] = bench.attempts
    if hint == "429":
        probe.fail(limited(1e6))
    else:
        probe.succeed(exhausted_for=1e6)
    began = now()
    await asyncio.sleep(MAX_BACK_OFF - 1)
    assert len(bench.attempts) == 2
    await asyncio.sleep(2)
    assert len(bench.attempts) == 3
    assert bench.attempts[2].at == pytest.approx(began + MAX_BACK_OFF)
    bench.upstream.script = OK
    bench.attempts[2].succeed()
    await gathered(tasks)
    assert len(bench.attempts) == 11


@pytest.mark.parametrize("ending", ["cancelled", "connection lost", "log_unexpected", "cancelled after a segment"])
@in_virtual_time
async def test_a_probe_without_an_answer(ending: str) -> None:
    """If a probe is cancelled or gets no response, the next request is the probe; a segment is a response."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.limited_upstream, *[call() for _ in range(3)])
    await asyncio.sleep(MAX_BACK_OFF + 1)
    [_, probe] = bench.attempts
    if ending == "cancelled":
        tasks[0].cancel()
    elif ending == "connection lost":
        probe.fail(UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "gone"))
    elif ending == "log_unexpected":
        probe.fail(ValueError())
    else:
        await probe.emit([SEGMENT])
        tasks[0].cancel()
    await settled()
    if ending == "cancelled after a segment":
        assert len(bench.attempts) == 4
    else:
        assert len(bench.attempts) == 3
        bench.attempts[2].succeed()
        await settled()
    assert len(bench.attempts) == 4
    for attempt in bench.attempts[2:]:
        if not attempt.answer.done():
            attempt.succeed()
    await gathered(tasks)
    await bench_is_free(bench)


@pytest.mark.parametrize("leaving", [1, 2])
@in_virtual_time
async def test_probe_cancelled_as_it_is_granted(leaving: int) -> None:
    """A call cancelled in the moment in which it becomes the probe leaves the probe to the next call."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.limited_upstream, *[call() for _ in range(4)])
    await settled()
    for task in tasks[:leaving]:  # in the same iteration of the loop, after the callback that grants reservations
        asyncio.get_running_loop().call_at(MAX_BACK_OFF + 1e-10, task.cancel)
    await asyncio.sleep(MAX_BACK_OFF + 1)
    assert [task.cancelled() for task in tasks] == [True] * leaving + [False] * (4 - leaving)
    assert len(bench.attempts) == 2
    bench.upstream.script = OK
    bench.attempts[1].succeed()
    await gathered(tasks)

    assert len(bench.attempts) == 1 + 4 - leaving
    await bench_is_free(bench)


@in_virtual_time
async def test_a_probe_ends_with_its_first_segment() -> None:
    """The other calls are sent as soon as the probe emits a segment, not at the end of a long response."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.limited_upstream, *[call() for _ in range(3)])
    await asyncio.sleep(MAX_BACK_OFF + 1)
    [_, probe] = bench.attempts
    await probe.emit([SEGMENT])
    await settled()
    assert len(bench.attempts) == 4
    assert not tasks[0].done()
    for attempt in bench.attempts[1:]:
        attempt.end()
    await gathered(tasks)
    await bench_is_free(bench)
