"""Prometheus metrics. One registry for each server, so that tests and workers do not share.

Label values are a closed set: modality, reason, method and code are fixed; a model is one of the table or "other". No
label ever holds a caller's text. Children are looked up once and kept.
"""

import platform
from functools import partial
from importlib import metadata

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge

from embedwire_server import __version__
from embedwire_server.core.models import Modality
from embedwire_server.observability.cache_metrics import CacheMetrics
from embedwire_server.observability.counters import CounterFamily, HistogramFamily
from embedwire_server.observability.log_collector import LogCollector
from embedwire_server.observability.recent_calls import RecentCalls
from embedwire_server.observability.store_metrics import StoreMetrics

OTHER_MODEL = "other"
REPLACEMENT_REASONS = ("age", "ended", "hung", "memory")
# Upper bound with the built-in models; each further model adds at most 200, each token 40.
MAX_SERIES = 1800
_MODALITY = ("modality",)
# From a loopback sandbox (milliseconds) to hours of audio (minutes).
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics(StoreMetrics, CacheMetrics):
    """All metrics of a server.

    Args:
        upstream: name of the configured upstream, for `embedwire_upstream_info`.
        histogram: type of the histograms.

    Attributes:
        recent_calls: the calls of the last minutes, for the status page.
    """

    def __init__(self, upstream: str, histogram: type[HistogramFamily] = HistogramFamily) -> None:
        self._histogram = histogram
        self.registry = registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)
        registry.register(LogCollector())
        self.recent_calls = RecentCalls()
        self._calls(registry)
        self._inputs(registry)
        self._upstream(registry)
        self._callers(registry)
        self._server(registry)
        self._admission(registry)
        self._retries(registry)
        self._pacing(registry)
        self._cache(registry)
        self._stores(registry, histogram)
        Gauge(
            "embedwire_upstream_info", "Configured upstream; the value is 1.", ("upstream",), registry=registry
        ).labels(upstream).set(1)
        Gauge(
            "embedwire_build_info",
            "Versions of this build; the value is 1.",
            ("version", "python", "grpcio"),
            registry=registry,
        ).labels(__version__, platform.python_version(), metadata.version("grpcio")).set(1)

    def _calls(self, registry: CollectorRegistry) -> None:
        method = ("grpc_type", "grpc_service", "grpc_method")
        self.calls_started = CounterFamily("grpc_server_started", "Calls started.", method, registry=registry)
        self.calls_handled = CounterFamily(
            "grpc_server_handled", "Calls completed, by status code.", (*method, "grpc_code"), registry=registry
        )
        self.messages_received = CounterFamily(
            "grpc_server_msg_received", "Messages received.", method, registry=registry
        )
        self.messages_sent = CounterFamily("grpc_server_msg_sent", "Messages sent.", method, registry=registry)
        self.call_seconds = self._histogram(
            "grpc_server_handling_seconds", "Duration of calls.", method, buckets=_SECONDS, registry=registry
        )
        self.calls = CounterFamily(
            "embedwire_requests",
            "Calls completed, by requested model and reason of failure (OK without one).",
            ("grpc_method", "model", "reason"),
            registry=registry,
        )

    def _inputs(self, registry: CollectorRegistry) -> None:
        self.inputs = CounterFamily(
            "embedwire_inputs",
            "Inputs completed, by reason of failure (OK without one, CANCELLED if the client disconnected).",
            ("modality", "model", "reason"),
            registry=registry,
        )
        self.segments = CounterFamily(
            "embedwire_segments", "Segments decoded.", ("modality", "model"), registry=registry
        )
        self.inputs_in_flight = Gauge("embedwire_inputs_in_flight", "Inputs in progress.", _MODALITY, registry=registry)
        self.overhead_seconds = self._histogram(
            "embedwire_gateway_overhead_seconds",
            "Time of an input in this server, without the waits for the upstream, an upload or the client.",
            _MODALITY,
            buckets=_OVERHEAD_SECONDS,
            registry=registry,
        )
        for modality in Modality:  # series exist from the start, so that a rate sees the first event
            self.inputs_in_flight.labels(modality)
            self.overhead_seconds.labels(modality)

    def _upstream(self, registry: CollectorRegistry) -> None:
        request = ("upstream", "endpoint", "modality")
        self.upstream_requests = CounterFamily(
            "embedwire_upstream_requests",
            "Requests to embed an input that were sent to the upstream, by reason of failure (OK without one).",
            (*request, "reason"),
            registry=registry,
        )
        self.connection_failures = CounterFamily(
            "embedwire_upstream_connection_failures",
            "Attempts without a connection to the upstream or without a valid HTTP response, by cause.",
            ("cause",),
            registry=registry,
        )
        self.upstream_seconds = self._histogram(
            "embedwire_upstream_request_duration_seconds",
            "Duration of upstream requests, from the first byte sent to the last received.",
            request,
            buckets=_SECONDS,
            registry=registry,
        )

        self.assets_deleted = CounterFamily(
            "embedwire_assets_deleted", "Assets deleted at the upstream.", (), registry=registry
        ).labels()
        self.asset_deletions_failed = CounterFamily(
            "embedwire_asset_deletions_failed",
            "Deletions of an asset that failed; the cleanup job repeats them after assets.max_age.",
            (),
            registry=registry,
        ).labels()

    def _callers(self, registry: CollectorRegistry) -> None:
        self.caller_calls = CounterFamily(
            "embedwire_client_requests",
            "Calls completed, by name of the client's token and reason of failure (OK without one).",
            ("client", "reason"),
            registry=registry,
        )
        self.caller_inputs = CounterFamily(
            "embedwire_client_inputs",
            "Inputs admitted, by name of the client's token.",
            ("client", "modality"),
            registry=registry,
        )

    def _server(self, registry: CollectorRegistry) -> None:
        self.reload_succeeded = Gauge(
            "embedwire_config_last_reload_successful",
            "Outcome of the last configuration reload: 1 for success, 0 for failure.",
            registry=registry,
        )
        self.reload_succeeded.set(1)
        self.not_ready = Gauge(
            "embedwire_not_ready",
            "Resource shortage: 1 while this resource is lacking and the server reports NOT_SERVING.",
            ("cause",),
            registry=registry,
        )
        self.event_loop_silence = Gauge(
            "embedwire_event_loop_silence_seconds",
            "Seconds since the event loop that handles calls has run; at most about 1 while it is not blocked.",
            registry=registry,
        )
        self.worker_replacements = CounterFamily(
            "embedwire_worker_replacements",
            "Workers that this one has replaced since the start of the server, by reason.",
            ("reason",),
            registry=registry,
        )
        for reason in REPLACEMENT_REASONS:
            self.worker_replacements.labels(reason)
        self.grpc_private_api = Gauge(
            "embedwire_grpc_private_api",
            "Use of the private API of grpcio: 1 while it is used, 0 with the public API only, which is slower.",
            registry=registry,
        )

    def _admission(self, registry: CollectorRegistry) -> None:
        self.expired_inputs = CounterFamily(
            "embedwire_expired_inputs",
            "Inputs whose deadline passed before the first upstream request.",
            _MODALITY,
            registry=registry,
        )
        self.inputs_queued = Gauge(
            "embedwire_concurrency_queue_length",
            "Inputs that wait for the concurrency limit.",
            _MODALITY,
            registry=registry,
        )
        self.content_bytes = Gauge("embedwire_buffered_bytes", "Bytes of content held in memory.", registry=registry)
        self.refusals = CounterFamily(
            "embedwire_requests_shed",
            "Calls rejected by load shedding, by the exhausted resource: a modality, content_bytes, or caller (quota).",
            ("resource",),
            registry=registry,
        )

    def _retries(self, registry: CollectorRegistry) -> None:
        self.retries = CounterFamily(
            "embedwire_retries",
            "Retries, by reason of failure of the previous attempt.",
            ("modality", "reason"),
            registry=registry,
        )
        self.retries_withheld = CounterFamily(
            "embedwire_retries_suppressed",
            "Retries suppressed, by cause: attempts, deadline or budget.",
            ("modality", "cause"),
            registry=registry,
        )
        self.retry_budget = Gauge(
            "embedwire_retry_budget_tokens", "Retries left in the retry budget.", registry=registry
        )

    def _pacing(self, registry: CollectorRegistry) -> None:
        gauge, counter = partial(Gauge, registry=registry), partial(CounterFamily, registry=registry)
        limit = ("modality", "limit")
        self.rate_limit_queue_length = gauge(
            "embedwire_rate_limit_queue_length", "Inputs that wait for the upstream's rate limits.", _MODALITY
        )
        self.rate_limit_wait_seconds = self._histogram(
            "embedwire_rate_limit_wait_seconds",
            "Wait of an attempt for the upstream's rate limits.",
            _MODALITY,
            buckets=_SECONDS,
            registry=registry,
        )
        self.rate_limit_backoffs = counter(
            "embedwire_rate_limit_backoffs",
            "Back-offs requested by the upstream (429, or an exhausted quota).",
            _MODALITY,
        )
        self.rate_limit_rejections = counter(
            "embedwire_rate_limit_rejections",
            "Inputs rejected because a rate limit outlasts their deadline, by limit (upstream: a back-off).",
            limit,
        )
        self.rate_limit_amount = gauge(
            "embedwire_rate_limit_amount",
            "Requests or minutes of media that a rate limit allows, by limit (upstream: by its last response).",
            limit,
        )
        self.rate_limit_remaining = gauge(
            "embedwire_rate_limit_remaining",
            "What a rate limit still allows now, by limit (upstream: by its last response).",
            limit,
        )

    def quota_shared(self) -> Gauge:
        """Add the gauge of a server with a quota store."""
        return Gauge(
            "embedwire_quota_shared",
            "Use of the quota store: 1 while servers share the rate limits, 0 while each uses its part of them; only "
            "with a store.",
            registry=self.registry,
        )
