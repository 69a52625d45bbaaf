"""Tracing: builds the parts of the server that record spans. Imported only if tracing is on."""

from collections.abc import Callable, Mapping

from embedwire_server.observability.trace_export import TraceExport
from embedwire_server.policies.input_spans import InputSpanPolicy
from embedwire_server.rpc.interceptors.spans import SpanInterceptor
from embedwire_server.upstreams.base import Upstream
from embedwire_server.upstreams.http.exchange import Sender
from embedwire_server.upstreams.http.traced_client import TracedHttpClient


class Tracing:
    """The wrappers that record spans.

    Args:
        variables: those of OpenTelemetry; see `config.otel_variables`.
        target: returns HOST:PORT of the server.

    Attributes:
        export: exports the spans.
        interceptor: records the spans of calls.

    Raises:
        Exception: see `TraceExport`.
    """

    def __init__(self, variables: Mapping[str, str], target: Callable[[], str]) -> None:
        self.export = TraceExport(variables)
        self.interceptor = SpanInterceptor(self.export.tracer, target)

    def policy(self, upstream: Upstream) -> Upstream:
        """Record the spans of inputs; the outermost policy."""
        return InputSpanPolicy(upstream, self.export.tracer)

    def client(self, sender: Sender, name: str) -> TracedHttpClient:
        """Return a client that records the spans of requests."""
        return TracedHttpClient(sender, name, self.export.tracer)
