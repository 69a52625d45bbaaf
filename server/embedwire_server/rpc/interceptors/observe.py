"""Interceptor for observability: request ids, trailers, metrics and one log line for each call."""

import time
from typing import Any

import grpc
import structlog

from embedwire_server.core.errors import Reason
from embedwire_server.core.totals import Totals
from embedwire_server.observability import logs, trace_context
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.observability.metrics import Metrics
from embedwire_server.rpc import call_context, deadline, drain, handlers, status
from embedwire_server.rpc.handlers import Context, Handler
from embedwire_server.rpc.health import SERVICE
from embedwire_server.rpc.server_options import ServerOptions

log = structlog.get_logger("embedwire_server.calls")


class ObservabilityInterceptor:
    """Sets the request id and trailers of each call, and reports its end to metrics and log.

    Args:
        metrics: count every call.
        upstream: the name of the configured upstream, for the trailers.
        options: the server options: default deadlines and the write stall timeout.
        running: the active calls; contains each call until its status has been sent.
    """

    def __init__(self, metrics: Metrics, upstream: str, options: ServerOptions, running: drain.ActiveCalls) -> None:
        self._options = options
        self._metrics = metrics
        self._running = running
        self._upstream = upstream
        self._log = log.bind()  # `log` itself is looked up again for each line

    def wrap(self, handler: Handler, method: str) -> Handler:
        """Wrap the handler of a method, given by its path."""
        _, service, name = method.split("/")
        labels = (_shape(handler), service, name)
        inner = handlers.run_of(handler)

        async def run(messages: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the handler takes and gives
            call = self._begin(context, labels)
            started = time.perf_counter()
            try:
                answer = await inner(messages, context)
                context.set_trailing_metadata(call.trailers())
                return answer
            finally:
                try:
                    self._report(call, labels, code_of(context, call), time.perf_counter() - started)
                except Exception as error:  # noqa: BLE001 - a report that fails must not fail the call
                    log_unexpected(error)

        # Every handler reads its messages itself, one or many, so that its duration includes the wait for the first.
        return handlers.changed(handler, request_streaming=True, run=run)

    def _begin(self, context: Context, labels: tuple[str, str, str]) -> call_context.Call:
        call = self._call(context, labels[1])
        call_context.current.set(call)
        self._running.add(call)
        call_context.on_call_done(lambda: self._running.discard(call))
        logs.request_id.set(call.request_id)
        call.upstream = self._upstream
        context.set_trailing_metadata(call.trailers())
        metrics = self._metrics
        metrics.calls_started.labels(*labels).inc()
        call.count_received = metrics.messages_received.labels(*labels).inc
        call.count_sent = metrics.messages_sent.labels(*labels).inc
        return call

    def _call(self, context: Context, service: str) -> call_context.Call:
        """Create the call context. Only EmbeddingService has default deadlines: health watches have no time limit."""
        metadata = call_context.single_values(context.invocation_metadata() or ())
        is_ours = service == SERVICE
        if is_ours and (trace := trace_context.parse(metadata)) is not None:
            trace_context.current.set(trace)
        return call_context.Call(
            call_context.request_id(metadata.get(call_context.REQUEST_ID_KEY)),
            service,
            context.time_remaining(),
            self._options.deadlines if is_ours else deadline.NO_DEADLINES,
            self._options.stall_timeout,
            is_ours=is_ours,
            caller=call_context.caller_of(context.peer()),
            upstream_key=metadata.get(call_context.UPSTREAM_KEY),
            authorization=metadata.get(call_context.AUTHORIZATION_KEY),
        )

    def _report(self, call: call_context.Call, labels: tuple[str, str, str], code: str, seconds: float) -> None:
        _, service, method = labels
        self._metrics.calls_handled.labels(*labels, code).inc()
        self._metrics.call_seconds.labels(*labels).observe(seconds)
        if call.is_ours:
            self._metrics.calls.labels(method, call.model, call.reason).inc()
            self._metrics.recent_calls.add(call, method, code, seconds)
        facts: dict[str, object] = {"method": f"{service}/{method}", "code": code}
        if call.is_ours:
            facts["reason"] = call.reason
            facts["model"] = call.model
        if call.token is not None:
            self._metrics.caller_calls.labels(call.token.name, call.reason).inc()
            facts["client"] = call.token.name
        if call.cause:
            facts["cause"] = call.cause
        facts |= _usage(call.totals)
        facts["seconds"] = round(seconds, 6)
        write = self._log.info if call.is_ours else self._log.debug  # probes are frequent
        write("call", **facts)


def code_of(context: Context, call: call_context.Call) -> str:
    """Return the name of the status code that the call ends with, for metrics and log."""
    if (code := context.code()) is not None:  # set by an abort, also by that of another library
        return grpc.StatusCode(code).name
    return "OK" if call.reason == "OK" else status.CODES[Reason(call.reason)].name


def _usage(totals: Totals) -> dict[str, object]:
    """Return the attributes of the log line about the inputs; none if no input was begun. Times are in seconds."""
    if not totals.modalities:
        return {}
    facts: dict[str, object] = {
        "modality": ",".join(totals.modalities),
        "inputs": totals.inputs,
        "segments": totals.segments,
        "content_bytes": totals.content_bytes,
        "attempts": totals.attempts,
        "queue_seconds": round(totals.queue, 6),
        "upload_seconds": round(totals.upload, 6),
        "upstream_seconds": round(totals.upstream, 6),
        "decode_seconds": round(totals.decode, 6),
    }
    if totals.cache:
        facts["cache"] = totals.cache_text
    if totals.upstream_trace_id:
        facts["upstream_trace_id"] = totals.upstream_trace_id
    return facts


def _shape(handler: Handler) -> str:
    """Return the call type, as the metrics of the gRPC ecosystem name it."""
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"
