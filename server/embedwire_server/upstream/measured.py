"""Counts and times every upstream attempt: a wrapper with the face of what it wraps."""

from collections.abc import AsyncGenerator

from embedwire_server.domain import Completion
from embedwire_server.errors import GatewayError, Reason
from embedwire_server.metrics import Metrics
from embedwire_server.upstream import Part, Upstream, UpstreamCall


class MeasuredUpstream:
    """Reports each attempt to the metrics, whether it succeeds, fails or is abandoned."""

    def __init__(self, upstream: Upstream, metrics: Metrics) -> None:
        self._upstream = upstream
        self._metrics = metrics

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Embed through the wrapped upstream; see `Upstream`."""
        trace, waited, attempts = call.trace, call.trace.waiting, call.trace.attempts
        outcome: str = Reason.CANCELLED
        try:
            items = self._upstream.embed(call)
            try:
                async for item in items:
                    if isinstance(item, Completion):
                        outcome = "OK"
                    yield item
            finally:
                await items.aclose()
        except GatewayError as error:
            outcome = error.reason
            raise
        except Exception:
            outcome = Reason.INTERNAL
            raise
        finally:
            if trace.attempts > attempts:
                labels = (trace.upstream, call.model.endpoint, call.input.modality)
                self._metrics.upstream_requests.labels(*labels, outcome).inc()
                self._metrics.upstream_seconds.labels(*labels).observe(trace.waiting - waited)
