"""Metrics of the stores that replicas share."""

from prometheus_client import CollectorRegistry, Gauge

from embedwire_server.observability.counters import CounterFamily, HistogramFamily

REDIS_USES = ("cache", "quota")
REDIS_ERRORS = ("connection", "full", "other", "timeout")
_USE = ("use",)
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05)  # an operation takes at most 50 ms


class StoreMetrics:
    """Part of `Metrics`: the connections to Redis. A use has series only if it is configured."""

    def _stores(self, registry: CollectorRegistry, histogram: type[HistogramFamily]) -> None:
        self.redis_up = Gauge(
            "embedwire_redis_up",
            "Redis: 1 while it answers, 0 while this server works without it; by use (cache, quota).",
            _USE,
            registry=registry,
        )
        self.redis_seconds = histogram(
            "embedwire_redis_operation_seconds",
            "Duration of operations on Redis that succeeded.",
            _USE,
            buckets=_SECONDS,
            registry=registry,
        )
        self.redis_errors = CounterFamily(
            "embedwire_redis_errors",
            "Operations and probes of Redis that failed, by reason: timeout, connection, full (maxmemory) or other.",
            ("use", "reason"),
            registry=registry,
        )
