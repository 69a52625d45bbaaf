"""Limits that change at run time."""

import pytest

from embedwire_server.core.errors import RateLimited
from embedwire_server.core.models import Modality
from tests.support.embed_calls import call, embedded, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import DAY, HOUR, Bench, audio, per_day, per_hour


@in_virtual_time
async def test_a_limit_is_raised() -> None:
    """A waiting call is sent as soon as a higher limit allows it, and past usage counts."""
    bench = Bench(per_day(1))
    await bench.answered(call())
    [waiting] = start(bench.limited_upstream, call(deadline=2 * DAY))
    await settled()
    assert len(bench.attempts) == 1
    bench.limiters.limit({Modality.TEXT: [per_day(2)]})
    await settled()
    assert len(bench.attempts) == 2
    bench.attempts[-1].succeed()
    await waiting
    with pytest.raises(RateLimited, match="at most 2"):
        await embedded(bench.limited_upstream, call(deadline=now() + HOUR))


@in_virtual_time
async def test_a_limit_is_lowered_or_gone() -> None:
    """A lower limit refuses later calls and waiting files that never fit; without a limit all calls are sent."""
    bench = Bench(per_hour(60), modality=Modality.AUDIO)
    await bench.answered(audio(50.0, deadline=DAY))
    [waiting] = start(bench.limited_upstream, audio(20.0, deadline=DAY))
    await settled()
    bench.limiters.limit({Modality.AUDIO: [per_hour(10)]})
    with pytest.raises(RateLimited, match="split the file"):
        await waiting
    bench.limiters.limit({})
    await bench.answered(audio(90.0, deadline=DAY))
