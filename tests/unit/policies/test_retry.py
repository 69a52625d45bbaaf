"""Retries: attempts, delays, deadlines and cancellation."""

import asyncio
from collections.abc import Sequence

import pytest

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.policies.retry_budget import RESERVE
from embedwire_server.testing import Attempt
from tests.support.embed_calls import ANSWER, call, embedded, gathered, refusal, start, undecided
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.retry_support import FRESH, ONCE, Bench, again, never


def once() -> UpstreamFailure:
    return refusal(500, retry_safety=ONCE)


def stale() -> UpstreamFailure:
    return UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "no", retry_safety=FRESH)


@pytest.mark.parametrize(
    ("says", "attempts", "is_answered"),
    [
        pytest.param([], 1, True, id="nothing wrong"),
        pytest.param([again()], 2, True, id="one"),
        pytest.param([again(), again()], 3, True, id="two"),
        pytest.param([again(), again(), again()], 3, False, id="three"),
        pytest.param([never()], 1, False, id="not repeatable"),
        pytest.param([again(), never()], 2, False, id="not repeatable any more"),
        pytest.param([once()], 2, True, id="once"),
        pytest.param([once(), once()], 2, False, id="once only"),
        pytest.param([once(), again()], 3, True, id="once, then something else"),
        pytest.param([again(), once()], 3, True, id="something else, then once"),
        pytest.param([once(), again(), again()], 3, False, id="once counts like the others"),
        pytest.param([stale()], 2, True, id="stale"),
        pytest.param([stale(), stale()], 2, False, id="stale once only"),
        pytest.param([stale(), once()], 3, True, id="stale, then once"),
        pytest.param([once(), stale()], 3, True, id="once, then stale"),
        pytest.param([stale(), again(), again()], 3, False, id="stale counts like the others"),
    ],
)
@in_virtual_time
async def test_attempts(says: Sequence[UpstreamFailure], attempts: int, *, is_answered: bool) -> None:
    """At most the configured number of attempts are made, and the last failure is raised."""
    bench = Bench(*says)
    if is_answered:
        assert await embedded(bench.retrying, call()) == ANSWER
    else:
        with pytest.raises(UpstreamFailure) as caught:
            await embedded(bench.retrying, call())
        assert caught.value is says[-1]
    assert bench.made == attempts


@in_virtual_time
async def test_a_stale_connection() -> None:
    """A request that fails on a stale connection is repeated immediately on a new one, outside the budget."""
    bench = Bench(*[say for _ in range(50) for say in (stale(), None)])
    fresh: list[bool] = []

    def script(attempt: Attempt) -> None:
        fresh.append(attempt.call.needs_fresh_connection)
        bench.answer_next(attempt)

    bench.upstream.script = script
    left = bench.budget.left
    for _ in range(50):
        assert await embedded(bench.retrying, call()) == ANSWER
    assert bench.times == [bench.times[0]] * 100
    assert fresh == [False, True] * 50
    assert bench.budget.left >= left


@pytest.mark.parametrize(
    ("max_attempts", "max_retries", "attempts"),
    [(3, None, 3), (3, 0, 1), (3, 1, 2), (3, 2, 3), (3, 100, 3), (1, None, 1), (1, 2, 1), (2, None, 2), (2, 0, 1)],
)
@in_virtual_time
async def test_max_retries(max_attempts: int, max_retries: int | None, attempts: int) -> None:
    """A request can lower the server's number of attempts but not raise it."""
    bench = Bench(*[again() for _ in range(5)], max_attempts=max_attempts)
    with pytest.raises(UpstreamFailure):
        await embedded(bench.retrying, call(max_retries=max_retries))

    assert bench.made == attempts
    assert bench.withheld("attempts") == 1


@in_virtual_time
async def test_own_failure_is_not_retried() -> None:
    """A failure that does not come from the upstream is raised unchanged."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(ValueError("ours"))
    with pytest.raises(ValueError, match="ours"):
        await embedded(bench.retrying, call())

    assert bench.made == 1


@in_virtual_time
async def test_full_jitter() -> None:
    """Delays are uniform from 0 to 0.1 s, then to 0.2 s."""
    first, second = [], []
    for _ in range(300):
        bench = Bench(again(), again())
        await embedded(bench.retrying, call())
        first.append(bench.times[1] - bench.times[0])
        second.append(bench.times[2] - bench.times[1])

    for delays, most in ((first, 0.1), (second, 0.2)):
        assert max(delays) <= most + 1e-6
        assert min(delays) < 0.1 * most
        assert max(delays) > 0.9 * most
        assert sum(delays) / len(delays) == pytest.approx(most / 2, rel=0.2)


@pytest.mark.parametrize("asked", [1.0, 7.0, 3000.0])
@in_virtual_time
async def test_retry_after_is_respected(asked: float) -> None:
    """A delay is at least Retry-After and at most a tenth longer."""
    delays = []
    for _ in range(100):
        bench = Bench(refusal(503, retry_delay=asked))
        await embedded(bench.retrying, call())
        delays.append(bench.times[1] - bench.times[0])

    assert asked <= min(delays)
    assert max(delays) <= asked * 1.1 + 1e-6
    assert max(delays) - min(delays) > min(0.05, asked * 0.05)


@in_virtual_time
async def test_retry_after_of_zero() -> None:
    """A Retry-After of 0 gives a delay with jitter."""
    delays = []
    for _ in range(100):
        bench = Bench(refusal(503, retry_delay=0.0))
        await embedded(bench.retrying, call())
        delays.append(bench.times[1] - bench.times[0])

    assert max(delays) > 0.05


@in_virtual_time
async def test_time_between_attempts_is_queueing() -> None:
    """The delay before an attempt is counted as queue time."""
    bench, wanted = Bench(again()), call()
    await embedded(bench.retrying, wanted)

    assert wanted.queue > 0
    assert wanted.attempts == 2


# --- deadlines ---


@pytest.mark.parametrize("asked", [10.0, 1e6, 1e9, 1e300])
@in_virtual_time
async def test_no_retry_after_the_deadline(asked: float) -> None:
    """If Retry-After exceeds the deadline, the upstream's failure is raised immediately."""
    failure = refusal(503, retry_delay=asked)
    bench = Bench(failure)
    with pytest.raises(UpstreamFailure) as caught:
        await embedded(bench.retrying, call(deadline=10.0))

    assert caught.value is failure
    assert now() == 0
    assert bench.withheld("deadline") == 1
    assert bench.budget.left == RESERVE


@in_virtual_time
async def test_no_retry_that_cannot_end_in_time() -> None:
    """An attempt that took 60 ms is not retried with 30 ms left; the upstream's failure is raised immediately."""
    bench = Bench()
    bench.upstream.script = lambda attempt: _later(0.06, attempt)
    began = now()
    with pytest.raises(UpstreamFailure) as caught:
        await embedded(bench.retrying, call(deadline=began + 0.09))
    assert caught.value.reason is Reason.UPSTREAM_UNAVAILABLE
    assert now() - began < 0.09
    assert bench.made == 1


def _later(seconds: float, attempt: Attempt) -> None:
    def fail() -> None:
        attempt.call.waiting += seconds  # the scripted upstream measures real time
        attempt.fail(again())

    asyncio.get_running_loop().call_later(seconds, fail)


@in_virtual_time
async def test_an_expired_call_is_not_sent_again() -> None:
    """A failure after the deadline is not retried."""
    bench = Bench()
    bench.upstream.script = undecided
    [task] = start(bench.retrying, call(deadline=5.0))
    await asyncio.sleep(6)
    bench.upstream.attempts[0].fail(again())
    await gathered([task])

    assert bench.made == 1


@in_virtual_time
async def test_cancelled_between_attempts() -> None:
    """A call cancelled during a delay makes no further attempt."""
    bench = Bench(refusal(503, retry_delay=10))
    [task] = start(bench.retrying, call())
    await asyncio.sleep(1)
    task.cancel()
    await gathered([task])
    await asyncio.sleep(60)

    assert task.cancelled()
    assert bench.made == 1


@pytest.mark.parametrize("after", [0, 1])
@in_virtual_time
async def test_cancelled_in_an_attempt(after: int) -> None:
    """Cancellation ends a running attempt, which is neither retried nor counted by the budget."""
    bench = Bench()
    bench.upstream.script = undecided
    [task] = start(bench.retrying, call())
    await settled()
    for _ in range(after):
        bench.upstream.attempts[-1].fail(again())
        await asyncio.sleep(1)
    assert bench.upstream.running == 1
    left = bench.budget.left
    task.cancel()
    await gathered([task])

    assert task.cancelled()
    assert bench.upstream.running == 0
    assert bench.made == after + 1
    assert bench.budget.left == left
