"""Arithmetic of many replicas, from the limits in the code and the results of the benchmark."""

from collections.abc import Callable, Iterator

from docs.reference import sizing
from embedwire_server.config.setting_table import BY_KEY
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import MAX_SERIES
from embedwire_server.policies.rate_limit.shared_quota import WATCH_SECONDS
from embedwire_server.policies.redis_connection import MAX_CONNECTIONS

REPLICAS = (1, 10, 100, 1000)
PLAN = 6_000  # requests a minute
SCRAPE_SECONDS = 30  # `metrics.serviceMonitor.interval` of the chart
_GIB = 1 << 30


def _default(key: str) -> int:
    return int(BY_KEY[key].field.default)


def _memory(replicas: int) -> str:
    return f"{replicas * sizing.results()['memory at rest, MiB'] / 1024:,.1f} GiB"


def _queue(replicas: int) -> str:
    return f"{replicas * 60 / PLAN:g} s"


_ROWS: tuple[tuple[str, Callable[[int], str]], ...] = (
    ("memory at rest", _memory),
    (
        "memory for content (`concurrency.max_buffered_bytes`), at most",
        lambda n: _gib(n, "concurrency.max_buffered_bytes"),
    ),
    (
        "spool of running uploads (`request_limits.upload_bytes`), at most",
        lambda n: _gib(n * _default("concurrency.inputs_per_modality"), "request_limits.upload_bytes"),
    ),
    (
        "upstream connections of running inputs, at most",
        lambda n: f"{n * len(Modality) * _default('concurrency.inputs_per_modality'):,}",
    ),
    ("connections to Redis for the quota", lambda n: f"{n * MAX_CONNECTIONS:,}"),
    ("connections to Redis for quota and cache", lambda n: f"{2 * n * MAX_CONNECTIONS:,}"),
    ("Redis operations/s without a call", lambda n: f"{n * len(Modality) / WATCH_SECONDS:,.0f}"),
    (f"share of each in a plan of {PLAN:,} requests a minute", lambda n: f"{PLAN / n:,g} a minute"),
    ("wait of an input behind one of each other replica, same plan", _queue),
    ("series, at most", lambda n: f"{n * MAX_SERIES:,}"),
    (f"samples/s with a scrape every {SCRAPE_SECONDS} s, at most", lambda n: f"{n * MAX_SERIES // SCRAPE_SECONDS:,}"),
)


def lines() -> Iterator[str]:
    """Yield the rows of the table."""
    yield f"| of all replicas together | {' | '.join(f'{count:,}' for count in REPLICAS)} |"
    yield "|---" * (len(REPLICAS) + 1) + "|"
    for name, value in _ROWS:
        yield f"| {name} | {' | '.join(map(value, REPLICAS))} |"


def _gib(count: int, key: str) -> str:
    return f"{count * _default(key) / _GIB:,.2f} GiB".replace(".00 ", " ")
