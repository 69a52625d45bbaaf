"""Collector of the log metrics, which `logs` counts, since logging also runs without metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from embedwire_server.observability import logs


class LogCollector(Collector):
    """Yields the number of lost log lines."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter with its current value. Thread-safe."""
        yield CounterMetricFamily(
            "embedwire_log_lines_dropped",
            "Log lines lost because the buffer was full or writing failed.",
            value=logs.dropped_lines(),
        )
