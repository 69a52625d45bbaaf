"""Usage of the rate limits of the server's own credential."""

import asyncio

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.usage import tightest
from embedwire_server.testing import Attempt
from embedwire_server.upstreams.base import UpstreamLimit
from tests.support.embed_calls import call
from tests.support.virtual_time import in_virtual_time
from tests.unit.policies.rate_limit.support import DAY, MARGIN, Bench, per_day

REPORTED = UpstreamLimit("x-ratelimit-request", 60.0, 58.0, 30.0)


def _reports(attempt: Attempt) -> None:
    attempt.call.limits = (REPORTED,)


@in_virtual_time
async def test_configured_limits() -> None:
    """The usage of a limit grows with each request, and ends when its window does; other modalities have none."""
    bench = Bench(per_day(10))
    await bench.answered(call())
    await asyncio.sleep(60)
    await bench.answered(call())
    text, image, _ = bench.limiters.usage()
    [limit] = text.configured
    assert (limit.amount, limit.used) == (10, 2)
    assert limit.free_in == pytest.approx(DAY + MARGIN)
    assert (text.modality, image.modality, image.configured) == (Modality.TEXT, Modality.IMAGE, [])
    await asyncio.sleep(DAY + MARGIN)
    [limit] = bench.limiters.usage()[0].configured
    assert (limit.used, limit.free_in) == (0, 0)


@in_virtual_time
async def test_limits_that_the_upstream_reports() -> None:
    """The limits of the last response are kept; the time until their reset decreases, down to 0."""
    bench = Bench(script=_reports)
    await bench.answered(call())
    await asyncio.sleep(20)
    text, image, _ = bench.limiters.usage()
    assert (list(text.reported), text.reported_ago) == ([REPORTED._replace(resets_in=10.0)], 20)
    assert image.reported == []
    await asyncio.sleep(20)
    assert bench.limiters.usage()[0].reported[0].resets_in == 0


@in_virtual_time
async def test_limits_of_a_caller_are_not_shown() -> None:
    """A caller's own credential changes nothing in the usage of the server's."""
    bench = Bench(per_day(10), script=_reports)
    await bench.answered(call(credential="callers"))
    text = bench.limiters.usage()[0]
    assert (text.configured[0].used, text.reported) == (0, [])


@in_virtual_time
async def test_a_back_off() -> None:
    """A back-off of the upstream is shown until it ends."""
    bench = Bench()
    await bench.answered(call(), exhausted_for=40.0)
    assert bench.limiters.usage()[0].back_off == 40
    await asyncio.sleep(41)
    assert bench.limiters.usage()[0].back_off == 0


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], None),
        ([(None, 5.0)], None),
        ([(0.0, 5.0)], None),
        ([(10.0, None)], None),
        ([(10.0, 0.0)], (0.0, 10.0)),
        ([(60.0, 50.0), (600.0, 100.0), (None, 1.0)], (100.0, 600.0)),
    ],
)
def test_tightest(limits: list[tuple[float | None, float | None]], expected: tuple[float, float] | None) -> None:
    """The limit counts of which the smallest part remains; a remainder without its limit does not."""
    assert tightest(UpstreamLimit("x-ratelimit", *one, 30.0) for one in limits) == expected
