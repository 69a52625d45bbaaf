"""Spans of requests: what is in their attributes, and what is not."""

from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from embedwire_server.core.errors import GatewayError, Reason, UpstreamFailure
from embedwire_server.observability import trace_context
from embedwire_server.observability.trace_context import TraceContext
from embedwire_server.observability.tracing import Tracer
from embedwire_server.upstreams.http.exchange import Exchange, Request
from embedwire_server.upstreams.http.traced_client import TracedHttpClient
from tests.support.embed_calls import call

SAMPLED = TraceContext("a" * 32, "b" * 16, 1, is_remote=False)


class Sender:
    """Records requests; answers with an empty body, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.requests: list[Request] = []
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []

    async def send(self, request: Request, _: Exchange) -> Any:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return self

    def __aiter__(self) -> "Sender":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close nothing."""


def never(*_: object) -> UpstreamFailure:
    raise AssertionError


async def span_of(sender: Sender, request: Request, context: TraceContext | None = SAMPLED) -> ReadableSpan | None:
    """Send a request within a trace; return its span, if there is one."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = TracedHttpClient(sender, "custom", Tracer(provider.get_tracer("test")))
    token = trace_context.current.set(context)
    try:
        body = await client.send(call(), request, never)
        assert exporter.get_finished_spans() == ()
        assert await body.chunk() == b""
        await body.close()
    except GatewayError:
        pass
    finally:
        assert trace_context.current.get() == context
        trace_context.current.reset(token)
    return next(iter(exporter.get_finished_spans()), None)


async def test_url_has_no_secrets() -> None:
    """User info and query, such as the signature of a chunk's URL, are left out; its request has no trace context."""
    request = Request(httpx.URL("https://user:SECRET@store.test/a%20b?sig=SECRET#SECRET"), [], b"", b"PUT", "/chunk")
    request.has_trace_context = False
    sender = Sender()
    span = await span_of(sender, request)
    assert span is not None
    assert (span.name, dict(span.attributes or {})) == (
        "PUT /chunk",
        {
            "http.request.method": "PUT",
            "http.response.status_code": 200,
            "url.full": "https://store.test/a%20b",
            "url.template": "/chunk",
            "server.address": "store.test",
            "server.port": 443,
        },
    )
    assert sender.requests[0].headers == []


@pytest.mark.parametrize("context", [None, TraceContext("a" * 32, "b" * 16, 0, is_remote=False)])
async def test_no_span_outside_of_a_recorded_call(context: TraceContext | None) -> None:
    """Requests of the cleanup job, and those of calls that are not recorded, have no span."""
    sender = Sender()
    assert await span_of(sender, Request(httpx.URL("http://up.test/embed"), []), context) is None
    assert sender.requests[0].headers == ([] if context is None else context.headers())


async def test_the_reason_is_that_of_the_failure() -> None:
    """The exception of a lost connection is not in the span; its reason is."""
    sender = Sender(httpx.ConnectError("SECRET"))
    span = await span_of(sender, Request(httpx.URL("http://up.test:8080/embed"), [], endpoint="/embed"))
    assert span is not None
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == Reason.UPSTREAM_UNAVAILABLE
    assert attributes["server.port"] == 8080
    assert not span.status.is_ok
    assert not span.events
    assert "SECRET" not in span.to_json()
