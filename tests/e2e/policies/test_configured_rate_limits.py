"""Configured rate limits."""

from tests.e2e.policies.support import EXHAUSTED, Steps, answered, check_journal, quota_of, refused
from tests.support import media
from tests.support.messages import failed, file_input, url_input
from tests.support.serving import Scripted
from tests.support.upstreams import Visit, reply


async def test_a_configured_limit(scripted: Scripted) -> None:
    """A request that the limit delays beyond its deadline fails immediately, names the limit, and is not sent."""
    async with scripted(Steps(), rate_limits_text_requests_per_minute=1) as (served, upstream):
        await answered(served)
        error = await refused(served, seconds=10)
        await answered(served, url_input("image", "http://media.test/a"))
        check_journal(served, upstream)
        assert served.metric("embedwire_rate_limit_rejections_total", limit="text requests per minute") == 1
    limits, delay = quota_of(error)

    assert (failed(error).code, failed(error).info.reason) == (EXHAUSTED, "RATE_LIMITED")
    assert limits == ["text requests per minute"]
    assert 50 < delay <= 61
    assert not failed(error).failure.attempts
    assert len(upstream.visits) == 2


async def test_configured_minutes(scripted: Scripted) -> None:
    """The minutes of a file are read from its header before it is sent."""

    async def whole(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", segments=(len(visit.body) // 16_000 + 5) // 6))

    async with scripted(whole, rate_limits_audio_media_minutes_per_hour=1) as (served, upstream):
        await answered(served, file_input("audio", media.wav(45, rate=8000), "a.wav"))
        error = await refused(served, file_input("audio", media.wav(20, rate=8000), "b.wav"))
        await answered(served, file_input("audio", media.wav(10, rate=8000), "c.wav"))
        never = await refused(served, file_input("audio", media.wav(70, rate=8000), "d.wav"))
        check_journal(served, upstream)

    assert quota_of(error)[0] == ["audio minutes per hour"]
    assert 3500 < quota_of(error)[1] <= 3601
    assert "split the file" in failed(never).message
    assert quota_of(never) == (["audio minutes per hour"], 0)
    assert len(upstream.visits) == 2
