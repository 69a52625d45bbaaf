"""What one caller may use of what all share."""

import asyncio
import contextlib

import pytest

from embedwire_server.admission.caller_quota import CallerQuotas
from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import Overloaded, RateLimited
from embedwire_server.core.inputs import EmbedRequest, Quota
from embedwire_server.core.models import MARENGO_30
from embedwire_server.observability.metrics import Metrics
from tests.support.embed_calls import sample, texts
from tests.support.virtual_time import in_virtual_time

AT_ONCE = 16


class Bench:
    """Allowances before an admission with little room."""

    def __init__(self, in_flight: int = 64) -> None:
        self.metrics = Metrics("fake")
        self.admission = LoadShedder(self.metrics, in_flight=in_flight, queued=0, content_bytes=1000)
        self.allowances = CallerQuotas(self.admission, self.metrics)
        self.held = contextlib.ExitStack()

    def take(self, quota: Quota | None, inputs: int = 1) -> contextlib.ExitStack:
        """Take on a call; closing what is returned ends it."""
        wanted = EmbedRequest(MARENGO_30, texts(inputs), caller=("host", "1"), quota=quota)
        held = self.held.enter_context(contextlib.ExitStack())
        held.enter_context(self.allowances.admit(wanted, wanted.at_once(AT_ONCE)))
        return held

    def refusals(self) -> float:
        return sample(self.metrics, "embedwire_requests_shed_total", resource="caller")


@in_virtual_time
async def test_nobody_in_particular() -> None:
    """A caller without a name has the limits of all, and no others."""
    bench = Bench(in_flight=2)
    with bench.held:
        bench.take(None)
        bench.take(None)
        with pytest.raises(Overloaded):
            bench.take(None)
    assert bench.refusals() == 0


@in_virtual_time
async def test_inputs_in_flight() -> None:
    """So many inputs of one caller run at a time, whatever its calls; other callers have their own."""
    bench, search = Bench(), Quota("search", inputs_in_flight=3)
    with bench.held:
        first = bench.take(search, 2)
        bench.take(search)
        with pytest.raises(Overloaded, match=r"search inputs in flight \(at most 3\)") as refused:
            bench.take(search)
        bench.take(Quota("indexer", inputs_in_flight=3), 3)
        first.close()
        bench.take(search)
    assert refused.value.retry_delay == 1.0
    assert bench.refusals() == 1


@in_virtual_time
async def test_a_large_call_runs_in_small_steps() -> None:
    """A call with more inputs than may be in flight is taken on, and runs so many at a time."""
    bench, search = Bench(), Quota("search", inputs_in_flight=3)
    with bench.held:
        bench.take(search, 40)
        with pytest.raises(Overloaded):
            bench.take(search)


@in_virtual_time
async def test_inputs_per_minute() -> None:
    """In any minute so many inputs begin; a refusal says when the call fits and names the limit, and costs nothing."""
    bench, search = Bench(), Quota("search", inputs_per_minute=10)
    with bench.held:
        bench.take(search, 10)
        await asyncio.sleep(21)
        for _ in range(3):
            with pytest.raises(RateLimited, match="search inputs per minute") as refused:
                bench.take(search)
        await asyncio.sleep(40)
        bench.take(search, 10)
    assert refused.value.retry_delay == pytest.approx(40)
    assert [quota.subject for quota in refused.value.quotas] == ["search inputs per minute"]
    assert sample(bench.metrics, "embedwire_client_inputs_total", client="search", modality="text") == 20


@in_virtual_time
async def test_more_than_a_minute_allows() -> None:
    """A call that never fits is told to be split, and not to come back."""
    bench = Bench()
    with pytest.raises(RateLimited, match="split it") as refused:
        bench.take(Quota("search", inputs_per_minute=10), 11)
    assert refused.value.retry_delay is None


@in_virtual_time
async def test_what_others_refuse_is_not_counted() -> None:
    """A call that the server has no room for uses nothing of its caller's minute."""
    bench, search = Bench(in_flight=1), Quota("search", inputs_per_minute=1)
    with bench.held:
        other = bench.take(None)
        with pytest.raises(Overloaded):
            bench.take(search)
        other.close()
        bench.take(search)


@in_virtual_time
async def test_a_limit_changes() -> None:
    """A new configuration holds from the next call on, and what has gone counts for it."""
    bench = Bench()
    with bench.held:
        bench.take(Quota("search", inputs_per_minute=2), 2)
        bench.take(Quota("search", inputs_per_minute=3), 1)
        with pytest.raises(RateLimited):
            bench.take(Quota("search", inputs_per_minute=3))
        bench.take(Quota("search"))
