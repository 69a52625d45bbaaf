"""The queries of the dashboard, evaluated as Grafana does."""

import dataclasses
import json
import math
import re
from typing import Any

from deploy.monitoring.dashboard import FILE
from tests.support.prometheus import Prometheus, Series
from tests.support.scaled_rules import duration

_SCRAPES_IN_RATE_INTERVAL = 4  # as in Grafana's $__rate_interval


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a panel: its legend, and its points (seconds since the epoch, value)."""

    legend: str
    points: list[tuple[float, float]]

    def between(self, start: float, end: float) -> list[float]:
        """Return the values within a window of time."""
        return [value for at, value in self.points if start <= at <= end]


@dataclasses.dataclass(frozen=True)
class Graph:
    """One panel with data."""

    title: str
    unit: str
    lines: list[Line]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard, without rows."""
    return [panel for panel in json.loads(FILE.read_text())["panels"] if panel["type"] != "row"]


def annotations() -> list[str]:
    """Return the queries of the annotations."""
    return [one["expr"] for one in json.loads(FILE.read_text())["annotations"]["list"]]


async def evaluated(prometheus: Prometheus, job: str, start: float, end: float) -> list[Graph]:
    """Return all panels for one job and a window of time.

    Raises:
        QueryError: Prometheus rejected a query.
    """
    graphs = []
    for panel in panels():
        lines = [
            Line(_legend(target["legendFormat"], series), _finite(series))
            for target in panel["targets"]
            for series in await prometheus.query_range(_filled(target["expr"], job, prometheus), start, end)
        ]
        graphs.append(Graph(panel["title"], panel["fieldConfig"]["defaults"]["unit"], lines))
    return graphs


def _filled(expression: str, job: str, prometheus: Prometheus) -> str:
    """Return a query with values for Grafana's variables."""
    window = duration(_SCRAPES_IN_RATE_INTERVAL * prometheus.interval)
    values = {"$__rate_interval": window, "$namespace": ".*", "$job": job, "$instance": ".*"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    return expression


def _legend(template: str, series: Series) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), template)


def _finite(series: Series) -> list[tuple[float, float]]:
    """Return the points without NaN, which a quantile has while there is no traffic."""
    return [(at, value) for at, value in series.points if math.isfinite(value)]
