"""Back-off as requested by the upstream, per credential and modality."""

import asyncio

import pytest

from embedwire_server.core.errors import Reason
from tests.support.embed_calls import call, embedded, gathered, limited, refusal, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import OK, Bench


@pytest.mark.parametrize("asked", [0.5, 7.0, 3600.0])
@in_virtual_time
async def test_back_off_applies_to_one_credential_and_modality(asked: float) -> None:
    """A 429 delays all calls of its credential and modality, and no others."""
    bench = Bench()
    await bench.answered(call(), limited(asked))
    held = now()
    own = start(bench.limited_upstream, *[call(caller=("b", "1")) for _ in range(5)])
    others = start(bench.limited_upstream, call("image"), call("audio"), call(credential="k"))
    await settled()
    assert [(attempt.call.input.modality, attempt.call.credential) for attempt in bench.attempts[1:]] == [
        ("image", None),
        ("audio", None),
        ("text", "k"),
    ]
    assert bench.sample("embedwire_rate_limit_queue_length") == 5
    bench.upstream.script = OK
    for attempt in bench.attempts[1:]:
        attempt.succeed()
    await asyncio.gather(*own, *others)

    assert [attempt.at - held for attempt in bench.attempts[4:]] == pytest.approx([asked] * 5)
    assert bench.sample("embedwire_rate_limit_queue_length") == 0
    assert bench.sample("embedwire_rate_limit_backoffs_total") == 1


@in_virtual_time
async def test_back_off_of_callers_keys_is_separate() -> None:
    """A back-off of a caller's own key affects neither the server's key nor other callers' keys."""
    bench = Bench()
    await bench.answered(call(credential="a"), limited(60))
    await bench.answered(call())
    await bench.answered(call(credential="b"))
    [late] = start(bench.limited_upstream, call(credential="a"))
    await settled()
    assert not late.done()
    assert len(bench.attempts) == 3
    late.cancel()
    await gathered([late])


@pytest.mark.parametrize("status", [200, 400, 503])
@in_virtual_time
async def test_reply_that_reports_an_exhausted_limit(status: int) -> None:
    """A reply of any status that reports an exhausted limit delays all calls until its reset."""
    bench = Bench()
    failure = None if status == 200 else refusal(status, Reason.INPUT_REJECTED)
    await bench.answered(call(), failure, exhausted_for=9.0)
    held = now()
    bench.upstream.script = OK
    await embedded(bench.limited_upstream, call())

    assert bench.attempts[-1].at - held == pytest.approx(9)


@in_virtual_time
async def test_back_off_is_not_shortened() -> None:
    """Replies to requests in flight may extend a back-off but never shorten it."""
    bench = Bench()
    tasks = start(bench.limited_upstream, *[call() for _ in range(4)])
    await settled()
    for attempt, asked in zip(bench.attempts, (5.0, 30.0, 10.0, None), strict=True):
        attempt.fail(limited(asked))
        await settled()
    await gathered(tasks)
    bench.upstream.script = OK
    await embedded(bench.limited_upstream, call())

    assert bench.attempts[-1].at == pytest.approx(30)


@in_virtual_time
async def test_retry_delay_of_a_refused_call() -> None:
    """A refusal without a hint during a longer back-off has the remaining back-off as its retry delay."""
    bench = Bench()
    tasks = start(bench.limited_upstream, call(), call())
    await settled()
    bench.attempts[0].fail(limited(30))
    await settled()
    bench.attempts[1].fail(limited())
    failures = await gathered(tasks)

    assert [failure.retry_delay for failure in failures] == pytest.approx([30, 30])
