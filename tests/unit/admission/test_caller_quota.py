"""Quotas of one caller: inputs in flight and inputs per minute."""

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
    """Caller quotas in front of load shedding with few slots."""

    def __init__(self, in_flight: int = 64) -> None:
        self.metrics = Metrics("fake")
        self.admission = LoadShedder(self.metrics, in_flight=in_flight, queued=0, content_bytes=1000)
        self.allowances = CallerQuotas(self.admission, self.metrics)
        self.held = contextlib.ExitStack()

    def take(self, quota: Quota | None, inputs: int = 1) -> contextlib.ExitStack:
        """Admit a call; closing the returned stack ends it."""
        wanted = EmbedRequest(MARENGO_30, texts(inputs), caller=("host", "1"), quota=quota)
        held = self.held.enter_context(contextlib.ExitStack())
        held.enter_context(self.allowances.admit(wanted, wanted.at_once(AT_ONCE)))
        return held

    def refusals(self) -> float:
        return sample(self.metrics, "embedwire_requests_shed_total", resource="caller")


@in_virtual_time
async def test_caller_without_quota() -> None:
    """A caller without a quota is subject to the shared limits only."""
    bench = Bench(in_flight=2)
    with bench.held:
        bench.take(None)
        bench.take(None)
        with pytest.raises(Overloaded):
            bench.take(None)
    assert bench.refusals() == 0


@in_virtual_time
async def test_inputs_in_flight() -> None:
    """`inputs_in_flight` limits the inputs of one caller over all its calls; other callers have limits of their own."""
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
async def test_call_with_more_inputs_than_in_flight_limit() -> None:
    """A call with more inputs than `inputs_in_flight` is admitted and runs at most that many at a time."""
    bench, search = Bench(), Quota("search", inputs_in_flight=3)
    with bench.held:
        bench.take(search, 40)
        with pytest.raises(Overloaded):
            bench.take(search)


@in_virtual_time
async def test_inputs_per_minute() -> None:
    """`inputs_per_minute` limits any 60 s window; a refusal names the limit and the delay, and uses no quota."""
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
async def test_call_larger_than_inputs_per_minute() -> None:
    """A call that can never fit is refused without a retry delay, with the advice to split it."""
    bench = Bench()
    with pytest.raises(RateLimited, match="split it") as refused:
        bench.take(Quota("search", inputs_per_minute=10), 11)
    assert refused.value.retry_delay is None


@in_virtual_time
async def test_shed_call_uses_no_quota() -> None:
    """A call that load shedding refuses uses nothing of its caller's quota."""
    bench, search = Bench(in_flight=1), Quota("search", inputs_per_minute=1)
    with bench.held:
        other = bench.take(None)
        with pytest.raises(Overloaded):
            bench.take(search)
        other.close()
        bench.take(search)


@in_virtual_time
async def test_changed_limit() -> None:
    """A changed limit applies from the next call on, and inputs of the last minute count towards it."""
    bench = Bench()
    with bench.held:
        bench.take(Quota("search", inputs_per_minute=2), 2)
        bench.take(Quota("search", inputs_per_minute=3), 1)
        with pytest.raises(RateLimited):
            bench.take(Quota("search", inputs_per_minute=3))
        bench.take(Quota("search"))
