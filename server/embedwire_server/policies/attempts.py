"""Metrics and logs of every upstream attempt."""

import asyncio
import time

import structlog

from embedwire_server.core.errors import GatewayError, Reason
from embedwire_server.core.failure_causes import OWN, PERMANENT, WORDS, Cause
from embedwire_server.core.results import ReplySummary
from embedwire_server.observability.metrics import Metrics
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

LOG_SECONDS = 10.0  # minimum interval between log lines of one cause: a failing upstream must not fill the log

log = structlog.get_logger(__name__)


class AttemptPolicy:
    """Middleware that records each attempt in metrics, whether it succeeds, fails or is abandoned.

    A failed connection, or lack of a local resource, is also counted by cause and logged, even if no request was made.
    """

    def __init__(self, upstream: Upstream, metrics: Metrics) -> None:
        self._logged: dict[Cause, tuple[float, int]] = {}  # time of the last log line, failures not logged since
        self._upstream = upstream
        self._metrics = metrics

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed through the wrapped upstream; see `Upstream`."""
        waited, attempts = call.waiting, call.attempts
        outcome: str = Reason.CANCELLED
        try:
            summary = await self._upstream.embed(call, emit)
            outcome = "OK"
        except asyncio.CancelledError:
            outcome = call.cancellation_reason
            if call.stuck is not None:  # the deadline passed before the connect timeout
                self._failed(call.stuck, outcome, WORDS[call.stuck])
            raise
        except Exception as error:
            if not call.is_abandoned:
                outcome = error.reason if isinstance(error, GatewayError) else Reason.INTERNAL
            if isinstance(error, GatewayError) and error.cause is not None:
                self._failed(error.cause, error.reason, error.message)
            raise
        finally:
            if call.attempts > attempts:
                labels = (call.upstream, call.endpoint, call.modality)
                self._metrics.upstream_requests.labels(*labels, outcome).inc()
                self._metrics.upstream_seconds.labels(*labels).observe(call.waiting - waited)
        return summary

    def _failed(self, cause: Cause, reason: str, message: str) -> None:
        """Count a failure and log it, at most once per cause in `LOG_SECONDS`."""
        self._metrics.connection_failures.labels(cause).inc()
        now = time.monotonic()
        at, withheld = self._logged.get(cause, (-LOG_SECONDS, 0))
        if now - at < LOG_SECONDS:
            self._logged[cause] = at, withheld + 1
            return
        self._logged[cause] = now, 0
        write = log.error if cause in PERMANENT | OWN else log.warning  # only the operator can fix these
        write("upstream request failed", cause=cause, reason=reason, message=message, not_logged=withheld)
