"""The W3C trace context of calls, with the API package of OpenTelemetry."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.span import TraceState

from embedwire import Audio, Text
from tests.e2e.client.callers import PICTURE, Connect, mapped
from tests.e2e.client.services import Recorder

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"


@pytest.fixture
def span() -> Iterator[None]:
    """A current span, as an instrumented application has it."""
    state = TraceState([("vendor", "value")])
    found = SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(found)))
    yield
    context.detach(token)


@pytest.mark.usefixtures("span")
async def test_every_call_has_the_trace_context(connect: Connect) -> None:
    """The current span is in the metadata of calls of every kind, and of those that `map` makes in threads or tasks."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target, token="t") as client:
        await client.embed("m", Text("a"), timeout=10)
        await client.embed("m", PICTURE, timeout=10)
        await client.embed("m", Audio(chunks=[b"a"]), timeout=10)
        await client.models(timeout=10)
        await mapped(client.map("m", (Text("a") for _ in range(2))))

    assert len(recorder.metadata) == 5
    for metadata in recorder.metadata:
        assert (metadata["traceparent"], metadata["tracestate"]) == (PARENT, "vendor=value")
        assert metadata["authorization"] == "Bearer t"


async def test_without_a_span_there_is_no_trace_context(connect: Connect) -> None:
    """A call outside of a span has neither header."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        await client.embed("m", Text("a"), timeout=10)
    assert not {"traceparent", "tracestate"} & set(recorder.metadata[0])


class Failing(TextMapPropagator):
    """A propagator that fails, or that gives what gRPC does not take."""

    fields = {"traceparent"}  # noqa: RUF012 - a property of the base class

    def __init__(self, value: str | None) -> None:
        self._value = value

    def extract(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def inject(self, carrier: Any, *_: Any, **__: Any) -> None:
        if self._value is None:
            raise RuntimeError("broken")
        carrier["traceparent"] = self._value
        carrier["authorization"] = "stolen"


@pytest.mark.parametrize("value", [None, "a\nb", "ü", ""])
async def test_a_failure_of_tracing_fails_no_call(connect: Connect, value: str | None) -> None:
    """A propagator that raises, or gives an invalid value or another header, does not disturb a call."""
    recorder = Recorder()
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Failing(value))
    try:
        async with recorder.serving() as target, connect(target) as client:
            await client.embed("m", Text("a"), timeout=10)
    finally:
        propagate.set_global_textmap(before)
    assert not {"traceparent", "authorization"} & set(recorder.metadata[0])


def test_opentelemetry_is_not_imported(served_by_thread: str) -> None:
    """A process that does not use OpenTelemetry does not import it by this package."""
    program = """
import sys
from embedwire import Client, Text
with Client(sys.argv[1]) as client:
    client.embed("m", Text("a"), timeout=20)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    command = [sys.executable, "-c", program, served_by_thread]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=50)
    assert ran.returncode == 0, ran.stderr
