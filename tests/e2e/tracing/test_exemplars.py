"""Exemplars of the duration histograms, as Prometheus reads them."""

import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from tests.e2e.policies.support import Steps
from tests.e2e.tracing.conftest import Traced
from tests.e2e.tracing.support import ATTEMPT, CALL, INPUT, PARENT, TRACE_ID, UNSAMPLED, embed
from tests.support.otlp import Receiver
from tests.support.serving import Served, serving
from tests.support.upstreams import answer

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def page(served: Served, accept: str = OPEN_METRICS) -> str:
    asked = urllib.request.Request(served.app.metrics_url, headers={"Accept": accept})
    with urllib.request.urlopen(asked, timeout=60) as found:
        text: str = found.read().decode()
        return text


def exemplars(served: Served, name: str) -> list[Exemplar]:
    """Return the exemplars of a histogram."""
    families = {family.name: family for family in text_string_to_metric_families(page(served))}  # type: ignore[no-untyped-call]
    return [sample.exemplar for sample in families[name].samples if sample.exemplar is not None]


async def test_durations_link_to_spans(traced: Traced, receiver: Receiver) -> None:
    """The histograms have exemplars of the span of the call or of the input, with the value and the time."""
    async with traced(Steps(429)) as served:
        await embed(served, parent=PARENT)
        await receiver.received(4)
        found = {
            name: exemplars(served, name)[0]
            for name in (
                "grpc_server_handling_seconds",
                "embedwire_gateway_overhead_seconds",
                "embedwire_upstream_request_duration_seconds",
                "embedwire_rate_limit_wait_seconds",
            )
        }
        ended = receiver.named(CALL)[0].span.end_time_unix_nano / 1e9

    (call,), (item,) = receiver.named(CALL), receiver.named(INPUT)
    assert {one.labels["trace_id"] for one in found.values()} == {TRACE_ID}
    spans = {name: one.labels["span_id"] for name, one in found.items()}
    assert spans["grpc_server_handling_seconds"] == spans["embedwire_gateway_overhead_seconds"] == call.span_id
    assert spans["embedwire_upstream_request_duration_seconds"] == item.span_id
    assert spans["embedwire_rate_limit_wait_seconds"] == item.span_id
    assert len(receiver.named(ATTEMPT)) == 2
    handling = found["grpc_server_handling_seconds"]
    assert handling.value > 0
    assert handling.timestamp is not None
    assert float(handling.timestamp) == pytest.approx(ended, abs=60)


async def test_only_recorded_traces_are_exemplars(traced: Traced, receiver: Receiver) -> None:
    """A call that is not recorded leaves no exemplar; the other format has none at all."""
    async with traced(answer) as served:
        await embed(served, parent=UNSAMPLED)
        assert exemplars(served, "grpc_server_handling_seconds") == []
        await embed(served, parent=PARENT)
        assert len(exemplars(served, "grpc_server_handling_seconds")) == 1
        assert TRACE_ID not in page(served, "text/plain")
    assert len(receiver.spans) == 3


async def test_without_tracing_there_are_none() -> None:
    """A server that records no spans has no exemplars, also for callers that do."""
    async with serving() as served:
        await embed(served, parent=PARENT)
        assert exemplars(served, "grpc_server_handling_seconds") == []
        assert served.metric("grpc_server_handling_seconds_count") == 1
