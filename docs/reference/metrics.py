"""Table of all metrics, from the registry of a server."""

from collections.abc import Iterator

from docs.reference.pages import cell
from embedwire_server.observability.metrics import Metrics

_PREFIXES = ("embedwire_", "grpc_server_")  # the others are of the Python client library of Prometheus


def lines() -> Iterator[str]:
    """Yield the rows of the table: name, type, labels and help text of each metric, by name."""
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    rows = {}
    # prometheus_client has no public access to the names of labels, nor to the collectors of a registry.
    metrics = Metrics("sandbox")
    metrics.quota_shared()
    for collector in metrics.registry._collector_to_names:  # noqa: SLF001
        labels = ", ".join(f"`{name}`" for name in getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            rows[name] = f"| `{name}` | {family.type} | {labels} | {cell(family.documentation)} |"
    yield from (rows[name] for name in sorted(rows) if name.startswith(_PREFIXES))
