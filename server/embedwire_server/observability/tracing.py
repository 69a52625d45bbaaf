"""Spans of OpenTelemetry. This module and `trace_export` are the only ones that import it, and only if tracing is on.

The running span is in `trace_context.current`, not in OpenTelemetry's own context: log lines, exemplars and headers
take it from there, also without tracing. Nothing here can fail a call.
"""

import contextlib
from collections.abc import Generator, Mapping
from typing import Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from embedwire_server.core.errors import Reason
from embedwire_server.observability import trace_context
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.observability.trace_context import TraceContext

Attributes = Mapping[str, str | int | float]
Kind = Literal["server", "internal", "client"]

ERROR_TYPE = "error.type"

_KINDS = {"server": SpanKind.SERVER, "internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


class Span:
    """A span that has been started; `end` ends it.

    Attributes:
        context: the position of the span in its trace; that of its parent if it could not be started.
    """

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span | None, context: TraceContext | None) -> None:
        self._span = span
        self.context = context

    @contextlib.contextmanager
    def active(self) -> Generator[None]:
        """Make it the running span within a block."""
        token = trace_context.current.set(self.context)
        try:
            yield
        finally:
            trace_context.current.reset(token)

    def end(self, attributes: Attributes, reason: Reason | None = None, *, is_error: bool = True) -> None:
        """End it; a second time has no effect.

        Args:
            attributes: those that were not known at its start.
            reason: why it failed; None if it succeeded.
            is_error: whether a failure sets its status to an error.
        """
        span, self._span = self._span, None
        if span is None:
            return
        try:
            span.set_attributes(attributes)
            if reason is not None:
                span.set_attribute(ERROR_TYPE, reason.value)
                if is_error:
                    span.set_status(StatusCode.ERROR)
            span.end()
        except Exception as error:  # noqa: BLE001 - see above
            log_unexpected(error)


class Tracer:
    """Starts spans.

    Args:
        tracer: that of the SDK.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @property
    def is_recording(self) -> bool:
        """Whether the running span is recorded. If it is not, no span within it is, whatever the sampler."""
        running = trace_context.current.get()
        return running is not None and running.is_sampled

    def start(self, name: str, kind: Kind, attributes: Attributes, start_time: int | None = None) -> Span:
        """Start a span as a child of the running one, or of the caller's.

        Args:
            name: its name.
            kind: its kind.
            attributes: those that are known; a sampler may use them.
            start_time: in nanoseconds since the epoch; now by default.
        """
        parent = trace_context.current.get()
        try:
            span = self._tracer.start_span(name, _parent_of(parent), _KINDS[kind], attributes, start_time=start_time)
            return Span(span, _context_of(span, "" if parent is None else parent.state))
        except Exception as error:  # noqa: BLE001 - see above
            log_unexpected(error)
            return Span(None, parent)


def _context_of(span: trace.Span, state: str) -> TraceContext:
    found = span.get_span_context()
    return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags, state, is_remote=False)


def _parent_of(parent: TraceContext | None) -> Context:
    """Return OpenTelemetry's context for a parent; an empty one for the root of a trace."""
    if parent is None:
        return Context()
    state = TraceState.from_header([parent.state]) if parent.state else None
    trace_id, span_id = int(parent.trace_id, 16), int(parent.span_id, 16)
    found = SpanContext(trace_id, span_id, parent.is_remote, TraceFlags(parent.flags), state)
    return trace.set_span_in_context(NonRecordingSpan(found), Context())
