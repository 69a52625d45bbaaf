"""Configured limits, the order of the queue, and cancelled waiters."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from embedwire_server.core.errors import DeadlineExceeded, RateLimited, Reason
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.upstream_back_off import MAX_BACK_OFF
from embedwire_server.testing import Attempt
from tests.support.embed_calls import Embedded, call, embedded, gathered, limited, refusal, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import HOUR, MARGIN, MINUTE, OK, Bench, bench_is_free, per_day


def per_minute(amount: int, modality: str = "text") -> RateLimit:
    return RateLimit(f"{modality} requests per minute", amount, MINUTE)


# --- limits ---


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param([per_minute(60)], id="minute"),
        pytest.param([per_day(40)], id="day"),
        pytest.param([per_minute(30), per_day(40)], id="both"),
    ],
)
@in_virtual_time
async def test_configured_limits(limits: Sequence[RateLimit]) -> None:
    """The configured limits apply to every window without a refusal by the upstream."""
    bench = Bench(*limits, script=OK)
    await asyncio.gather(*start(bench.limited_upstream, *[call() for _ in range(150)]))

    for limit in limits:
        for first in bench.times:
            assert sum(first <= at < first + limit.seconds for at in bench.times) <= limit.amount


@in_virtual_time
async def test_callers_keys_have_plans_of_their_own() -> None:
    """The configured limits apply to the server's key; calls with a caller's own key neither use nor wait for them."""
    bench = Bench(per_minute(1), script=OK)
    await asyncio.gather(*start(bench.limited_upstream, *[call(credential="a") for _ in range(20)], call()))

    assert set(bench.times) == {0.0}


@in_virtual_time
async def test_fair_by_caller() -> None:
    """A caller with fifty times its share of calls leaves the other two their shares."""
    bench = Bench(per_minute(60), script=OK)
    end = 20 * MINUTE

    async def keep_asking(host: str, at_a_time: int) -> None:
        async def one_after_the_other() -> None:
            while True:
                await embedded(bench.limited_upstream, call(caller=(host, "1")))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_a_time):
                group.create_task(one_after_the_other())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(end):
            await asyncio.gather(keep_asking("heavy", 50), keep_asking("b", 1), keep_asking("c", 1))
    counts = Counter(attempt.call.caller[0] for attempt in bench.attempts)
    fair = 60 * end / MINUTE / 3

    assert counts["b"] >= 0.95 * fair
    assert counts["c"] >= 0.95 * fair
    for first in bench.times:
        assert sum(first <= at < first + MINUTE for at in bench.times) <= 60


@in_virtual_time
async def test_order_within_a_caller() -> None:
    """Calls of one caller are sent in order of arrival, also one that has to wait again."""
    bench = Bench(per_minute(6), script=OK)
    wanted = [call() for _ in range(4)]
    await embedded(bench.limited_upstream, wanted[0])
    tasks = start(bench.limited_upstream, wanted[3], wanted[2], wanted[1])
    await settled()
    tasks += start(bench.limited_upstream, wanted[0])
    await asyncio.gather(*tasks)

    assert [attempt.call for attempt in bench.attempts[1:]] == wanted


@pytest.mark.parametrize(
    ("limits", "hold", "binding"),
    [
        pytest.param([per_minute(6)], 0.0, "text requests per minute", id="minute"),
        pytest.param([per_minute(6), per_day(1)], 0.0, "text requests per day", id="day"),
        pytest.param([per_minute(6)], 30.0, "text requests to the upstream", id="the upstream's"),
        pytest.param([], 30.0, "text requests to the upstream", id="the upstream's alone"),
        pytest.param([], 1e6, "text requests to the upstream", id="far too long"),
    ],
)
@in_virtual_time
async def test_call_that_cannot_meet_its_deadline(limits: Sequence[RateLimit], hold: float, binding: str) -> None:
    """A call that cannot be sent before its deadline is refused immediately with the deciding limit and the delay."""
    bench = Bench(*limits)
    await bench.answered(call(), exhausted_for=hold)
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.limited_upstream, call(deadline=5.0))
    failure = caught.value

    assert now() == 0
    assert failure.reason is Reason.RATE_LIMITED
    assert [quota.subject for quota in failure.quotas] == [binding]
    assert binding in failure.message
    assert failure.retry_delay is not None
    available_at = failure.retry_delay
    label = "upstream" if hold else binding
    assert bench.sample("embedwire_rate_limit_rejections_total", limit=label) == 1
    bench.upstream.script = OK
    with pytest.raises(RateLimited):
        await embedded(bench.limited_upstream, call(deadline=available_at))
    await embedded(bench.limited_upstream, call(deadline=available_at + 0.1))
    assert bench.attempts[-1].at == pytest.approx(available_at)


@in_virtual_time
async def test_queue_length_decides_on_refusal() -> None:
    """A call is refused immediately if the calls ahead of it take longer than its deadline, and only then."""
    bench = Bench(per_minute(6), script=OK)
    tasks = start(bench.limited_upstream, *[call(caller=("a", "1")) for _ in range(13)])
    await settled()
    spacing = (MINUTE + MARGIN) / 6
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.limited_upstream, call(caller=("a", "1"), deadline=12 * spacing))
    assert caught.value.retry_delay == pytest.approx(13 * spacing - 2)
    await embedded(bench.limited_upstream, call(caller=("b", "1"), deadline=2 * spacing))
    assert now() == pytest.approx(2 * spacing - 2)
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_queue_counts_after_a_back_off() -> None:
    """During a back-off the expected delay includes the calls ahead, which are not all sent when it ends."""
    bench = Bench(per_minute(6))
    await bench.answered(call(), limited(300))
    tasks = start(bench.limited_upstream, *[call() for _ in range(6)])
    await settled()
    bench.upstream.script = OK
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.limited_upstream, call(deadline=310))
    last = start(bench.limited_upstream, call())
    await asyncio.gather(*tasks, *last)

    assert bench.attempts[-1].at == pytest.approx(caught.value.retry_delay)


@in_virtual_time
async def test_expired_call() -> None:
    """An expired call fails with DeadlineExceeded, not with a rate limit."""
    bench = Bench()
    with pytest.raises(DeadlineExceeded):
        await embedded(bench.limited_upstream, call(deadline=now()))
    assert not bench.attempts


@in_virtual_time
async def test_new_back_off_refuses_waiting_calls() -> None:
    """A new back-off refuses immediately the waiting calls that cannot be sent before their deadlines."""
    bench = Bench(per_minute(60))
    under_way = start(bench.limited_upstream, call(), call())
    await settled()
    short, long = start(bench.limited_upstream, call(deadline=20.0), call(deadline=500.0))
    await settled()
    bench.attempts[0].fail(limited(60))
    await settled()

    assert short.done()
    failure = short.exception()
    assert isinstance(failure, RateLimited)
    assert failure.retry_delay == pytest.approx(60)
    assert not long.done()
    bench.upstream.script = OK
    bench.attempts[1].succeed()
    await long
    await gathered(under_way)
    assert bench.attempts[-1].at == pytest.approx(60)
    assert bench.sample("embedwire_rate_limit_queue_length") == 0


# --- cancelled waiters ---


@in_virtual_time
async def test_cancelled_waiter_delays_no_other() -> None:
    """A cancelled waiter uses no reservation and delays no other call."""
    bench = Bench(per_minute(6), script=OK)
    tasks = start(bench.limited_upstream, *[call() for _ in range(5)])
    await settled()
    for task in tasks[1:4]:
        task.cancel()
    await gathered(tasks)
    spacing = (MINUTE + MARGIN) / 6

    assert bench.times == pytest.approx([0, spacing - 2])
    assert bench.sample("embedwire_rate_limit_queue_length") == 0


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_churn(seed: int) -> None:
    """Calls that succeed, fail, are cancelled and refused at random leave a usable limiter and an empty queue."""
    chance = random.Random(seed)
    bench = Bench(per_minute(600))
    replies: list[Exception | None] = [None, None, limited(1), limited(), limited(2 * HOUR), refusal(503)]

    def script(attempt: Attempt) -> None:
        reply = chance.choice(replies)

        def answer() -> None:
            if not attempt.answer.done():
                attempt.succeed() if reply is None else attempt.fail(reply)

        asyncio.get_running_loop().call_later(chance.uniform(0, 2), answer)

    bench.upstream.script = script
    tasks = []
    for number in range(400):
        tasks += start(
            bench.limited_upstream, call(caller=(str(number % 3), "1"), deadline=now() + chance.choice([10, 1e5]))
        )
        if chance.random() < 0.5:
            asyncio.get_running_loop().call_later(chance.choice([0, 0, 0.1, 5, 3600]), chance.choice(tasks).cancel)
        await asyncio.sleep(chance.choice([0, 0, 0.01, 1, 100]))
    replies[:] = [None]
    await gathered(tasks)
    await asyncio.sleep(MAX_BACK_OFF + MINUTE)
    assert bench.upstream.running == 0
    assert bench.sample("embedwire_rate_limit_queue_length") == 0
    await embedded(bench.limited_upstream, call())
    await bench_is_free(bench)


@in_virtual_time
async def test_reservation_granted_in_the_iteration_of_a_cancellation() -> None:
    """A reservation granted in the loop iteration of its waiter's cancellation does not block the queue."""
    bench = Bench(per_minute(60), script=OK)
    spacing = (MINUTE + MARGIN) / 60
    tasks = start(bench.limited_upstream, *[call() for _ in range(6)])
    asyncio.get_running_loop().call_at(3 * spacing - 2, lambda: [task.cancel() for task in tasks])
    ended = await gathered(tasks)
    for one in ended:
        assert isinstance(one, Embedded | asyncio.CancelledError)
    await embedded(bench.limited_upstream, call())

    assert now() <= 10 * spacing
    assert bench.sample("embedwire_rate_limit_queue_length") == 0
