"""Servers that record no spans: the trace of the caller continues, and nothing of OpenTelemetry is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tracing.support import CALLERS_SPAN, PARENT, STATE, TRACE_ID, embed
from tests.support.otlp import Receiver, variables
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, reply

REPORTING_SERVER = (str(Path(__file__).parents[2] / "programs/module_report.py"),)
WITHOUT_EXTRA = (str(Path(__file__).parents[2] / "programs/without_extra.py"),)


async def test_the_callers_context_is_passed_on(scripted: Scripted) -> None:
    """Without tracing, the upstream gets the trace context of the caller, unchanged; without one, none."""
    headers = []

    async def script(visit: Visit) -> None:
        headers.append(visit.headers)
        await visit.answer(reply())

    async with scripted(script) as (served, _):
        await embed(served, parent=PARENT)
        await embed(served)
        await embed(served, metadata=[("traceparent", "00-0-0-0"), ("tracestate", STATE), ("baggage", "a=b")])
    assert (headers[0]["traceparent"], headers[0]["tracestate"]) == (PARENT, STATE)
    assert not {"traceparent", "tracestate", "baggage"} & (headers[1].keys() | headers[2].keys())


async def test_log_lines_have_the_callers_trace() -> None:
    """The log line of a call has the identifiers of its caller's trace, under the names of the log data model."""
    async with ServerProcess.running(log_format="json") as server:
        await embed(server, parent=PARENT)
        await embed(server)
        await until(lambda: sum('"body": "call"' in line for line in server.log) == 2)
    with_trace, without = [json.loads(line) for line in server.log if '"body": "call"' in line]
    found = with_trace["trace_id"], with_trace["span_id"], with_trace["trace_flags"]
    assert found == (TRACE_ID, CALLERS_SPAN, "01")
    assert not {"trace_id", "span_id", "trace_flags"} & without.keys()


async def test_log_lines_have_the_servers_span(receiver: Receiver) -> None:
    """With tracing, the log line of a call has the identifiers of the server's span."""
    environment = variables(receiver.endpoint)
    async with ServerProcess.running(environment=environment, log_format="json") as server:
        await embed(server, parent=PARENT)
        await receiver.received(3)
        await until(lambda: any('"body": "call"' in line for line in server.log))
    (line,) = [json.loads(line) for line in server.log if '"body": "call"' in line]
    (call,) = [one for one in receiver.spans if "rpc.method" in one.attributes]
    assert (line["trace_id"], line["span_id"]) == (TRACE_ID, call.span_id)


@pytest.mark.parametrize(
    ("environment", "is_loaded"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
    ],
)
async def test_what_is_loaded(environment: dict[str, str], is_loaded: bool) -> None:  # noqa: FBT001 - a column
    """A server loads no module of OpenTelemetry unless a variable asks for traces."""
    async with ServerProcess.running(environment=environment, program=REPORTING_SERVER) as server:
        await embed(server, parent=PARENT)
        await server.terminate()
        await until(lambda: any("modules:" in line for line in server.log))
    (line,) = [line for line in server.log if "modules:" in line]
    assert ("opentelemetry" in line) == is_loaded


async def test_a_missing_extra_is_a_warning() -> None:
    """A server without the packages that a variable needs says once what to install, and serves."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with ServerProcess.running(environment=environment, program=WITHOUT_EXTRA) as server:
        await embed(server)
    warnings = [line for line in server.log if "OTEL" in line]
    assert len(warnings) == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in warnings[0]
    assert "pip install 'embedwire-server[otel]'" in warnings[0]


INVALID: dict[str, Any] = {
    "OTEL_TRACES_EXPORTER": "zipkin",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "ten",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_BSP_MAX_QUEUE_SIZE": "0",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1",
}


async def test_invalid_variables_are_warnings() -> None:
    """Each invalid variable is a warning that names it, without its value; the server serves without tracing."""
    async with ServerProcess.running(environment=INVALID | {"OTEL_TRACES_SAMPLER_ARG": "SECRET"}) as server:
        await embed(server)
    for name, value in INVALID.items():
        (line,) = [line for line in server.log if f"{name}:" in line]
        assert "traces are not recorded: must be" in line
        assert value not in line.partition(name)[2].partition("must be")[0]


async def test_what_only_the_sdk_rejects() -> None:
    """A server whose SDK cannot be set up says so, and serves without tracing."""
    environment = {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/", "OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1"}
    async with ServerProcess.running(environment=environment) as server:
        await embed(server)
    assert len([line for line in server.log if "OpenTelemetry rejects its variables" in line]) == 1
