"""What the dashboard consists of: rows of panels with queries.

Queries have two placeholders: `$server` for the selector of the chosen servers, and `$window` for the window of rates.
`dashboard` replaces them with variables of Grafana.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expression: PromQL, with placeholders.
        legend: name of its series, in Grafana's format (`{{label}}`).
    """

    expression: str
    legend: str


@dataclasses.dataclass(frozen=True, slots=True)
class Panel:
    """One panel, a graph over time.

    Attributes:
        title: unique in the dashboard.
        description: what it shows, and what a high value means.
        unit: Grafana's identifier of the unit.
        queries: at least one.
        alerts: names of the alerts whose cause it shows; it links to their runbooks.
        is_stacked: whether the series add up.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    alerts: tuple[str, ...] = ()
    is_stacked: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


FAILED = 'reason!="OK"'


def rate(metric: str, by: str, legend: str = "", selector: str = "") -> Query:
    """Return events per second of a counter, by these labels."""
    matchers = ", ".join(filter(None, ("$server", selector)))
    return Query(f"sum by ({by}) (rate({metric}{{{matchers}}}[$window]))", legend or _legend(by))


def total(metric: str, legend: str, function: str = "rate") -> Query:
    """Return the rate or the increase of a counter, of all series together."""
    return Query(f"sum({function}({metric}{{$server}}[$window]))", legend)


def gauge(metric: str, by: str, legend: str = "") -> Query:
    """Return the sum of a gauge, by these labels."""
    return Query(f"sum by ({by}) ({metric}{{$server}})", legend or _legend(by))


def each(metric: str) -> Query:
    """Return the value of every process."""
    return Query(f"{metric}{{$server}}", "{{instance}}")


def quantiles(histogram: str, by: str) -> tuple[Query, ...]:
    """Return the median and the 99th percentile of a histogram, by this label."""
    buckets = f"sum by (le, {by}) (rate({histogram}_bucket{{$server}}[$window]))"
    return tuple(
        Query(f"histogram_quantile({quantile}, {buckets})", f"p{quantile * 100:g} {_legend(by)}")
        for quantile in (0.5, 0.99)
    )


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
