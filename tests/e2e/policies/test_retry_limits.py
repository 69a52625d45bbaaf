"""Limits on retries: the request's own, deadlines, and the retry budget."""

import time

import grpc
import pytest

from embedwire.v1 import error_reason_pb2 as reasons
from tests.e2e.policies.support import EXHAUSTED, Steps, answered, check_journal, ok, quota_of, refused, says
from tests.support.messages import failed, request, results, text_input
from tests.support.serving import Scripted
from tests.support.upstreams import Visit


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 2), (2, 3), (2_147_483_647, 3)])
async def test_max_retries(scripted: Scripted, max_retries: int, attempts: int) -> None:
    """A caller can lower the number of attempts, and not raise it."""
    async with scripted(Steps(*[503] * 9)) as (served, upstream):
        failure = failed(await refused(served, max_retries=max_retries))

    assert failure.failure.attempts == attempts
    assert len(upstream.visits) == attempts


async def test_retry_after_is_kept(scripted: Scripted) -> None:
    """The next attempt waits for the upstream's Retry-After."""
    async with scripted(steps := Steps(says(status=503, Retry_After="1"))) as (served, _):
        await answered(served)

    assert 1.0 <= steps.times[1] - steps.times[0] < 5


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (503, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        (504, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_TIMEOUT"),
        (429, EXHAUSTED, "UPSTREAM_RATE_LIMITED"),
    ],
)
async def test_no_time_for_another_attempt(scripted: Scripted, status: int, code: grpc.StatusCode, reason: str) -> None:
    """If the next attempt cannot end before the deadline, the upstream's failure is returned immediately."""
    async with scripted(Steps(says(status=status, Retry_After="60"))) as (served, upstream):
        began = time.monotonic()
        error = await refused(served, seconds=30)
        took = time.monotonic() - began
        assert served.metric("embedwire_retries_suppressed_total", cause="deadline") == 1

    assert (failed(error).code, failed(error).info.reason) == (code, reason)
    assert quota_of(error)[1] == 60
    assert took < 30
    assert len(upstream.visits) == 1


async def test_each_input_has_its_attempts(scripted: Scripted) -> None:
    """In a call with several inputs each result counts its own attempts."""
    failures = {b"red": 1, b"two": 2, b"six": 6}

    async def script(visit: Visit) -> None:
        name = next((name for name in failures if name in visit.body), b"")
        left = failures.get(name, 0)
        failures[name] = left - 1
        await (says(status=503) if left > 0 else ok)(visit)

    async with scripted(script) as (served, upstream):
        inputs = [text_input(text) for text in ("good", "a red fox", "two", "six")]
        events = [event async for event in served.stub.CreateEmbedding(request(*inputs), timeout=20)]
        check_journal(served, upstream)
    found = results(events)

    assert [found[index].attempts for index in range(4)] == [1, 2, 3, 3]
    assert [found[index].HasField("failure") for index in range(4)] == [False, False, False, True]


async def test_an_outage_is_limited_by_the_retry_budget(scripted: Scripted) -> None:
    """During an outage the upstream gets at most a fifth more requests than inputs, plus the reserve."""
    async with scripted(says(status=503)) as (served, upstream):
        for _ in range(4):
            events = [event async for event in served.stub.CreateEmbedding(request(*[text_input()] * 100), timeout=30)]
            assert {result.failure.reason for result in results(events).values()} == {
                reasons.ERROR_REASON_UPSTREAM_UNAVAILABLE
            }
        check_journal(served, upstream)
        assert served.metric("embedwire_retry_budget_tokens") < 1

    assert len(upstream.visits) <= 400 * 1.2 + 20
