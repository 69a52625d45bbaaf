"""Whose decision it is that a trace is recorded, and trace contexts that are not valid."""

from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from embedwire import AsyncClient, Text
from tests.e2e.tracing.conftest import Traced
from tests.e2e.tracing.support import ATTEMPT, CALL, CALLERS_SPAN, PARENT, STATE, TRACE_ID, UNSAMPLED, embed
from tests.support.otlp import Receiver
from tests.support.upstreams import Visit, reply

SAMPLER = "OTEL_TRACES_SAMPLER"


class Upstream:
    """Answers with a segment, and records the headers."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    async def __call__(self, visit: Visit) -> None:
        self.headers.append(visit.headers)
        await visit.answer(reply())

    @property
    def parents(self) -> list[str]:
        return [headers.get("traceparent", "") for headers in self.headers]


async def test_the_caller_decides(traced: Traced, receiver: Receiver) -> None:
    """By default, a call is recorded if its caller records, or has no trace; the upstream gets the same decision."""
    upstream = Upstream()
    async with traced(upstream) as served:
        await embed(served, parent=UNSAMPLED)
        await embed(served, parent=PARENT)
        await embed(served)
        await receiver.received(6)

    assert len(receiver.spans) == 6
    assert sorted({one.trace_id == TRACE_ID for one in receiver.spans}) == [False, True]
    assert [value[:36] == PARENT[:36] for value in upstream.parents] == [True, True, False]
    assert [value[-2:] for value in upstream.parents[:2]] == ["00", "01"]
    assert int(upstream.parents[2][-2:], 16) & 1
    assert not any(CALLERS_SPAN in value for value in upstream.parents)


@pytest.mark.parametrize(("sampler", "parent", "count"), [("always_off", PARENT, 0), ("always_on", UNSAMPLED, 3)])
async def test_the_operator_decides(traced: Traced, receiver: Receiver, sampler: str, parent: str, count: int) -> None:
    """A sampler that ignores the parent records all calls, or none, whatever the caller asks for."""
    async with traced(Upstream(), {SAMPLER: sampler}) as served:
        await embed(served, parent=parent)
    assert len(receiver.spans) == count  # the stop of the server exports the rest


async def test_the_client_sends_its_context(traced: Traced, receiver: Receiver) -> None:
    """A call of the Python client is in the trace of the application."""
    span = SpanContext(int(TRACE_ID, 16), int(CALLERS_SPAN, 16), is_remote=False, trace_flags=TraceFlags(1))
    async with traced(Upstream()) as served:
        token = context.attach(trace.set_span_in_context(NonRecordingSpan(span)))
        try:
            async with AsyncClient(served.app.target) as client:
                await client.embed("marengo3.0", Text("a red fox"))
        finally:
            context.detach(token)
        await receiver.received(3)
    assert {one.trace_id for one in receiver.spans} == {TRACE_ID}
    assert [one.parent_id for one in receiver.spans if one.attributes.get("rpc.method")] == [CALLERS_SPAN]


HOSTILE: dict[str, list[tuple[str, Any]]] = {
    "long": [("traceparent", PARENT + "-" + "a" * 6000)],
    "zero trace": [("traceparent", f"00-{'0' * 32}-{CALLERS_SPAN}-01")],
    "zero span": [("traceparent", f"00-{TRACE_ID}-{'0' * 16}-01")],
    "version": [("traceparent", PARENT.replace("00-", "ff-", 1))],
    "fields of version 00": [("traceparent", PARENT + "-00")],
    "capitals": [("traceparent", PARENT.upper())],
    "no text": [("traceparent-bin", PARENT.encode())],
    "empty": [("traceparent", "")],
}


@pytest.mark.parametrize("metadata", HOSTILE.values(), ids=HOSTILE)
async def test_an_invalid_context_starts_a_trace(
    traced: Traced, receiver: Receiver, metadata: list[tuple[str, Any]]
) -> None:
    """A call with an invalid trace context succeeds, as the root of a new trace; nothing of it is passed on."""
    upstream = Upstream()
    async with traced(upstream) as served:
        await embed(served, metadata=[*metadata, ("tracestate", STATE)])
        await receiver.received(3)
    (call,), (attempt,) = receiver.named(CALL), receiver.named(ATTEMPT)
    assert call.parent_id == ""
    assert call.trace_id != TRACE_ID
    assert call.trace_id in upstream.parents[0]
    assert "tracestate" not in upstream.headers[0]
    assert attempt.trace_id == call.trace_id


async def test_baggage_is_not_passed_on(traced: Traced, receiver: Receiver) -> None:
    """The upstream does not get the baggage of a caller."""
    upstream = Upstream()
    async with traced(upstream) as served:
        await embed(served, metadata=[("traceparent", PARENT), ("baggage", "user=anna")])
        await receiver.received(3)
    assert not any("anna" in value for value in upstream.headers[0].values())
