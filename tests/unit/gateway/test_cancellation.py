"""Cancelled calls, and upstreams that raise CancelledError."""

import asyncio

import pytest
from structlog.testing import capture_logs

from embedwire_server.core.errors import InternalError
from tests.unit.gateway.support import SECRET, Bench, File, Recorder, bad, cancelled, good, image, settled, stuck, text


@pytest.mark.parametrize("inputs", ["a", "ab"], ids=["single", "several"])
async def test_leaked_cancellation(inputs: str) -> None:
    """A CancelledError without a cancellation is a failure of its input and cancels nothing else."""
    bench = Bench(a=bad(asyncio.CancelledError(SECRET)), b=good())
    with capture_logs():
        if inputs == "a":
            with pytest.raises(InternalError):
                await bench.embed(text("a"))
        else:
            found = (await bench.embed(text("a"), text("b"))).results
            assert isinstance(found["a"].failure, InternalError)
            assert found["b"].failure is None
    assert bench.inputs("INTERNAL") == 1


@pytest.mark.parametrize("is_parked", [False, True], ids=["while waiting", "while parked"])
@pytest.mark.parametrize("count", [1, 3], ids=["single", "several"])
async def test_real_cancellation(count: int, *, is_parked: bool) -> None:
    """A cancelled call ends as cancelled, ends its upstream calls and logs nothing."""
    bench, reply = Bench(a=stuck(1)), Recorder()
    if is_parked:
        reply.is_open.clear()
    files = [File() for _ in range(count)]
    task = bench.begin(*(image("a", file) for file in files), reply=reply)
    await settled()
    assert bench.upstream.running == count
    assert len(reply.segments) == (0 if is_parked else count)
    assert bench.in_flight("image") == count
    with capture_logs() as logs:
        await cancelled(task)
    assert logs == []
    assert bench.upstream.running == 0
    assert bench.in_flight("image") == 0
    assert bench.inputs("CANCELLED", "image") == count
    assert [file.closed for file in files] == [1] * count


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("inputs", ["a", "abc"], ids=["single", "several"])
async def test_cancellation_in_the_middle(inputs: str, at_once: int) -> None:
    """When a caller cancels, every running input ends and no other is started."""
    bench, reply = Bench(at_once, others=stuck(1000)), Recorder()
    task = bench.begin(*map(text, inputs), reply=reply)
    while len(reply.segments) < 5:
        await asyncio.sleep(0)
    running = min(at_once, len(inputs))
    assert bench.upstream.running == running
    await cancelled(task)
    assert bench.upstream.running == 0
    assert bench.begun() == list(inputs[:running])
    assert bench.inputs("CANCELLED") == running
    assert reply.results == {}
