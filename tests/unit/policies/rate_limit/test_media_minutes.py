"""Limits on minutes of media, known before or after the request."""

import asyncio
import dataclasses

import pytest

from embedwire_server.core.errors import RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.policies.rate_limit.limiter import RateLimiter
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import SEGMENT, call, embedded
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import HOUR, MARGIN, OK, Bench, audio, per_hour


def segment(end: float | None, begin: float = 0.0) -> list[Segment]:
    return [dataclasses.replace(SEGMENT, start_offset_sec=begin, end_offset_sec=end)]


def assert_left(bench: Bench, minutes: float) -> None:
    """Check that this many minutes of audio are available, and no more."""
    limiter = bench.limiters.of(audio())
    with pytest.raises(RateLimited):
        limiter.try_acquire(Reservation(minutes + 0.01), audio(deadline=now() + 1))
    assert limiter.try_acquire(Reservation(minutes - 0.01), audio(deadline=now() + 1))


async def reserved(limiter: RateLimiter, wanted: EmbedCall, minutes: float) -> Reservation:
    """Wait for a reservation of this many minutes."""
    reservation = Reservation(minutes)
    if not limiter.try_acquire(reservation, wanted):
        await limiter.acquire(reservation, wanted)
    return reservation


async def test_minutes_of_a_file() -> None:
    """Minutes are read from the header of a file before it is sent, less skipped ones, and delay the next file."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO, script=OK)
    began = now()
    await embedded(bench.limited_upstream, audio(6.0))
    await embedded(bench.limited_upstream, audio(5.0, offset=120.0))
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.limited_upstream, audio(1.5, deadline=began + 60))
    failure = caught.value
    assert failure.retry_delay == pytest.approx(HOUR + MARGIN, abs=10)
    assert [quota.subject for quota in failure.quotas] == ["audio minutes per hour"]
    await embedded(bench.limited_upstream, audio(0.9, deadline=began + 60))

    assert len(bench.attempts) == 3


async def test_a_file_that_never_fits() -> None:
    """A file with more minutes than any window allows is refused without a retry delay."""
    bench = Bench(per_hour(3), modality=Modality.AUDIO)
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.limited_upstream, audio(3.5))

    assert caught.value.retry_delay is None
    assert "split the file" in caught.value.message
    assert not bench.attempts


@pytest.mark.parametrize(
    ("batches", "duration", "offset", "minutes"),
    [
        pytest.param([segment(300.0), segment(600.0, 300.0)], None, None, 10, id="last end"),
        pytest.param([segment(600.0, 300.0), segment(300.0)], None, None, 10, id="any order"),
        pytest.param([[*segment(600.0, 300.0), *segment(300.0)]], None, None, 10, id="together"),
        pytest.param([segment(300.0), segment(600.0, 300.0)], None, 120.0, 8, id="from an offset on"),
        pytest.param([segment(None), segment(None, 540.0)], None, None, 9, id="starts only"),
        pytest.param([[SEGMENT]], 600.0, None, 10, id="duration"),
        pytest.param([[SEGMENT]], None, None, 0, id="nothing known"),
    ],
)
@in_virtual_time
async def test_minutes_behind_a_url(
    batches: list[list[Segment]], duration: float | None, offset: float | None, minutes: float
) -> None:
    """Minutes of a URL are recorded after the reply, from the last offset of its segments."""
    summary = ReplySummary("m", media_duration_sec=duration)
    bench = Bench(
        per_hour(20), modality=Modality.AUDIO, script=lambda attempt: attempt.succeed(*batches, summary=summary)
    )
    await embedded(bench.limited_upstream, audio(offset=offset))

    assert_left(bench, 20 - minutes)


@in_virtual_time
async def test_urls_wait_for_a_window_that_is_full() -> None:
    """Once the minutes are used up, media of unknown length waits as well."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO, script=lambda attempt: attempt.succeed(segment(1200.0)))
    await embedded(bench.limited_upstream, audio())
    with pytest.raises(RateLimited):
        await embedded(bench.limited_upstream, audio(deadline=100.0))
    await embedded(bench.limited_upstream, audio())

    assert bench.times == pytest.approx([0, HOUR + MARGIN])


@pytest.mark.parametrize(
    ("batch", "minutes"),
    [
        pytest.param(segment(180.0), 3, id="longer"),
        pytest.param(segment(60.0), 1, id="shorter"),
        pytest.param(segment(None, 54.0), 2, id="when the last segment begins says less"),
        pytest.param(segment(None, 174.0), 2.9, id="when it begins says more"),
        pytest.param([SEGMENT], 2, id="nothing known"),
    ],
)
async def test_a_header_that_was_wrong(batch: list[Segment], minutes: float) -> None:
    """The length in the reply replaces the length in the header of a file."""
    bench = Bench(per_hour(100), modality=Modality.AUDIO, script=lambda attempt: attempt.succeed(batch))
    await embedded(bench.limited_upstream, audio(2.0))

    assert_left(bench, 100 - minutes)


@in_virtual_time
async def test_minutes_that_were_fewer_are_free_at_once() -> None:
    """A call that waits for minutes is sent immediately when fewer minutes were used than reserved."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO)
    limiter = bench.limiters.of(audio())
    reservation = await reserved(limiter, call("audio"), 9.0)
    waiting = asyncio.create_task(reserved(limiter, call("audio"), 5.0))
    await asyncio.sleep(10)
    assert not waiting.done()
    limiter.reconcile(reservation, 5.0)
    await waiting

    assert now() == 10


@in_virtual_time
async def test_minutes_that_are_known_too_late() -> None:
    """A correction after the window has passed changes nothing."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO)
    limiter = bench.limiters.of(audio())
    reservations = [await reserved(limiter, call("audio"), 3.0) for _ in range(2)]
    await asyncio.sleep(HOUR + 2)
    later = await reserved(limiter, call("audio"), 10.0)
    for reservation, minutes in zip(reservations, (0.0, 50.0), strict=True):
        limiter.reconcile(reservation, minutes)
    with pytest.raises(RateLimited):
        limiter.try_acquire(Reservation(0.01), audio(deadline=now() + 1))
    limiter.reconcile(later, 4.0)
    await reserved(limiter, call("audio"), 6.0)

    assert now() == HOUR + 2


@in_virtual_time
async def test_a_long_file_ahead_is_seen() -> None:
    """A call behind a file that waits for its minutes is refused immediately if the wait exceeds its deadline."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO, script=OK)
    limiter = bench.limiters.of(audio())
    await reserved(limiter, call("audio"), 8.0)
    first = asyncio.create_task(reserved(limiter, call("audio"), 9.0))
    await settled()
    with pytest.raises(RateLimited):
        await reserved(limiter, call("audio", deadline=60.0), 1.0)
    await first
