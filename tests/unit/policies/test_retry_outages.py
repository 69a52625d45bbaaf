"""The retry budget in an outage, and metrics of retries."""

import pytest

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.policies.retry_budget import RESERVE
from embedwire_server.testing import Attempt
from tests.support.embed_calls import ANSWER, call, embedded, gathered, limited, refusal, sample, start
from tests.support.virtual_time import in_virtual_time
from tests.unit.policies.retry_support import Bench, again, never


@pytest.mark.parametrize("reason", [Reason.UPSTREAM_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_CONFLICT])
@in_virtual_time
async def test_outage(reason: Reason) -> None:
    """In an outage there are some thirty retries for a thousand calls with any status; afterwards retries resume."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(refusal(503, reason))
    for _ in range(1000):
        with pytest.raises(UpstreamFailure):
            await embedded(bench.retrying, call())
    assert bench.made <= 1000 + RESERVE + 0.2 * 35
    assert bench.withheld("budget") > 900
    assert sample(bench.metrics, "embedwire_retry_budget_tokens") < 1
    bench.upstream.script = Attempt.succeed
    for _ in range(100):
        await embedded(bench.retrying, call())
    before = bench.made
    bench.upstream.script = bench.answer_next
    bench.says = [again()]
    await embedded(bench.retrying, call())

    assert bench.made == before + 2


@in_virtual_time
async def test_storm() -> None:
    """Three hundred concurrent calls to an upstream in an outage share one reserve."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(again())
    ended = await gathered(start(bench.retrying, *[call() for _ in range(300)]))

    assert {failure.reason for failure in ended} == {Reason.UPSTREAM_UNAVAILABLE}
    assert bench.made <= 300 + RESERVE + 0.2 * 300
    assert bench.made <= 300 * 1.2 + RESERVE


@in_virtual_time
async def test_no_budget() -> None:
    """A share of 0 disables retries."""
    bench = Bench(again(), share=0.0)
    with pytest.raises(UpstreamFailure):
        await embedded(bench.retrying, call())

    assert bench.made == 1
    assert bench.withheld("budget") == 1


@in_virtual_time
async def test_failure_without_retry_uses_no_budget() -> None:
    """Rejected inputs, and failures without attempts or time left, use nothing of the budget."""
    bench = Bench()
    for failure, retries, deadline in ((never(), None, 1e9), (again(), 0, 1e9), (limited(100), None, 50.0)):
        bench.says = [failure]
        with pytest.raises(UpstreamFailure):
            await embedded(bench.retrying, call(max_retries=retries, deadline=deadline))

    assert bench.budget.left == RESERVE


@in_virtual_time
async def test_a_thousand_refused_inputs_are_no_outage() -> None:
    """Rejected inputs do not count as an outage: a 503 among a thousand of them is retried."""
    bench = Bench(*[never() for _ in range(1000)], again())
    for _ in range(1000):
        with pytest.raises(UpstreamFailure):
            await embedded(bench.retrying, call())
    assert await embedded(bench.retrying, call()) == ANSWER


@in_virtual_time
async def test_metrics() -> None:
    """Retries are counted by reason, and the budget is a metric."""
    bench = Bench(again(), refusal(408, Reason.UPSTREAM_TIMEOUT))
    await embedded(bench.retrying, call())

    for reason in ("UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"):
        assert sample(bench.metrics, "embedwire_retries_total", modality="text", reason=reason) == 1
    assert sample(bench.metrics, "embedwire_retry_budget_tokens") == bench.budget.left == RESERVE - 2
