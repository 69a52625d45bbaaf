"""Collector of the log metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from embedwire_server.observability import logs


class LogCollector(Collector):
    """Collector of the log metrics, which `logs` counts, since logging also runs without metrics."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "embedwire_log_lines_dropped",
            "Log lines lost because the buffer was full or writing failed.",
            value=logs.dropped_lines(),
        )
