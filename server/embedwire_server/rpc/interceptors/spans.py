"""Interceptor that records a server span for each call; used only if tracing is on."""

from collections.abc import Callable
from typing import Any

import grpc

from embedwire_server.core.address import Address
from embedwire_server.core.errors import Reason
from embedwire_server.observability import trace_context
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.observability.tracing import Attributes, Span, Tracer
from embedwire_server.rpc import call_context, handlers
from embedwire_server.rpc.handlers import Context, Handler
from embedwire_server.rpc.interceptors.observe import code_of

# Codes of a server's own failures, by the conventions for gRPC. With others, the caller has made the mistake.
_ERRORS = {
    code.name
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
}


class SpanInterceptor:
    """Records a span for each call, as a child of the caller's; inside of `ObservabilityInterceptor`.

    The span stays the running one after its end, so that the log line and the metrics of the call refer to it.

    Args:
        tracer: starts the spans.
        target: returns HOST:PORT of the server.
    """

    def __init__(self, tracer: Tracer, target: Callable[[], str]) -> None:
        self._tracer = tracer
        self._target = target

    def wrap(self, handler: Handler, method: str) -> Handler:
        """Wrap the handler of a method, given by its path."""
        inner, name = handlers.run_of(handler), method.removeprefix("/")

        async def run(messages: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the handler takes and gives
            span = self._tracer.start(name, "server", self._attributes(name))
            trace_context.current.set(span.context)
            try:
                return await inner(messages, context)
            finally:
                try:
                    _end(span, context)
                except Exception as error:  # noqa: BLE001 - it must not fail the call
                    log_unexpected(error)

        return handlers.changed(handler, run=run)

    def _attributes(self, name: str) -> Attributes:
        address = Address(self._target())
        facts = {"rpc.system.name": "grpc", "rpc.method": name}
        return facts | {"server.address": address.host, "server.port": address.port}


def _end(span: Span, context: Context) -> None:
    call = call_context.current.get()
    code = code_of(context, call)
    reason = None if call.reason == "OK" else Reason(call.reason)
    span.end({"rpc.response.status_code": code}, reason, is_error=code in _ERRORS)
