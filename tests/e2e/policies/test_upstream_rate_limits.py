"""Rate limits that the upstream reports."""

import asyncio
import contextlib
import datetime as dt
import email.utils
import time
from collections.abc import Callable

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.policies.support import EXHAUSTED, Script, Steps, answered, check_journal, ok, quota_of, refused, says
from tests.support.messages import failed, text_input, url_input
from tests.support.serving import Scripted
from tests.support.upstreams import Visit, reply


def at(seconds: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)


GUESSED = 4  # seconds after the third error: 1, 2, 4
HOLDS: dict[str, tuple[Callable[[], Script], float]] = {
    "seconds": (lambda: says(status=429, Retry_After="30"), 30),
    "date": (lambda: says(status=429, Retry_After=email.utils.format_datetime(at(30), usegmt=True)), 30),
    "a million": (lambda: says(status=429, Retry_After="1000000"), 3600),
    "empty body": (lambda: says(b"", 429), GUESSED),
    "nonsense": (lambda: says(status=429, Retry_After="soon"), GUESSED),
    "reset": (lambda: says(status=429, X_Ratelimit_Reset=str(int(at(30).timestamp()))), 30),
    "reset of requests": (
        lambda: says(
            status=429, X_RateLimit_Request_Remaining="0", X_RateLimit_Request_Reset=str(int(at(30).timestamp()))
        ),
        30,
    ),
    "details": (
        lambda: says({"error": {"code": "RATE_LIMIT_EXCEEDED", "details": {"retryAfter": "30"}}}, 429),
        30,
    ),
    "draft": (lambda: says(status=429, RateLimit='"default";r=0;t=30'), 30),
    "older draft": (lambda: says(status=429, RateLimit="limit=60, remaining=0, reset=30"), 30),
    "words": (lambda: says({"code": "too_many_requests", "message": "Try again after 30 seconds."}, 429), 30),
    "a good reply": (
        lambda: says(reply(), X_Ratelimit_Remaining="0", X_Ratelimit_Reset=str(int(at(30).timestamp()))),
        30,
    ),
}


@pytest.mark.parametrize(("script", "seconds"), HOLDS.values(), ids=HOLDS)
async def test_a_hold(scripted: Scripted, script: Callable[[], Script], seconds: float) -> None:
    """After any kind of rate limit, texts of its credential wait until it ends, or fail if their deadline is sooner."""
    times = 3 if seconds == GUESSED else 1
    async with scripted(Steps(*[script()] * times), auth_allow_caller_api_keys=True) as (served, upstream):
        for _ in range(times):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await answered(served, max_retries=0)
        began = time.monotonic()
        patience = 2 if seconds == GUESSED else 15  # in any case less than the hold
        error = await refused(served, seconds=patience)
        took = time.monotonic() - began
        assert len(upstream.visits) == times
        await answered(served, url_input("image", "http://media.test/a"))
        await served.stub.CreateEmbeddingUnary(
            pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()]),
            metadata=[("x-upstream-api-key", "another")],
        )
        check_journal(served, upstream)
    limits, delay = quota_of(error)

    assert (failed(error).code, failed(error).info.reason) == (EXHAUSTED, "RATE_LIMITED")
    assert limits == ["text requests to the upstream"]
    assert delay == pytest.approx(seconds, rel=0.2, abs=1.5)
    assert took < patience
    assert len(upstream.visits) == times + 2


async def test_a_hold_within_the_deadline_is_waited_for(scripted: Scripted) -> None:
    """Callers whose deadline is later than the hold wait for its end and are answered after it, and none before."""
    async with scripted(steps := Steps(says(status=429, Retry_After="1"))) as (served, upstream):
        first = asyncio.create_task(answered(served))
        while not steps.times:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        rest = await asyncio.gather(first, *[answered(served) for _ in range(5)])
        check_journal(served, upstream)

    assert [result.attempts for result in rest] == [2, 1, 1, 1, 1, 1]
    for when in steps.times[1:]:
        assert when - steps.times[0] >= 1.0


async def test_a_hold_without_a_hint_ends_with_one_probe_request(scripted: Scripted) -> None:
    """After a 429 without a hint one probe request is sent, and the others follow when it has been answered."""
    is_open = asyncio.Event()

    async def held(visit: Visit) -> None:
        await is_open.wait()
        await ok(visit)

    async with scripted(steps := Steps(says(b"", 429), *[held] * 5)) as (served, upstream):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await answered(served, max_retries=0)
        tasks = [asyncio.create_task(answered(served)) for _ in range(5)]
        while len(upstream.visits) < 2:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert len(upstream.visits) == 2
        is_open.set()
        await asyncio.gather(*tasks)

    assert len(steps.times) == 6


async def test_a_probe_whose_caller_disconnects(scripted: Scripted) -> None:
    """If the caller of the probe request disconnects, the next request becomes the probe."""

    async def hangs(visit: Visit) -> None:
        await visit.gone()

    async with scripted(Steps(says(b"", 429), hangs)) as (served, upstream):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await answered(served, max_retries=0)
        first = asyncio.create_task(answered(served))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(answered(served))
        while len(upstream.visits) < 2:
            await asyncio.sleep(0.02)
        assert not second.done()
        first.cancel()
        assert (await second).attempts == 1
        with pytest.raises(asyncio.CancelledError):
            await first
