"""How much each panel changed during an incident."""

import dataclasses
import statistics
from collections.abc import Iterator

from tests.incidents.dashboard import Graph, Line
from tests.incidents.timeline import Timeline

CLEAR = 3.0  # a clear change: by this factor, or from or to 0


@dataclasses.dataclass(frozen=True)
class Change:
    """The change of one line of a panel.

    Attributes:
        panel: title of the panel.
        legend: name of the line.
        unit: Grafana's identifier of the unit.
        before: mean value in normal traffic.
        lowest: lowest value in normal traffic.
        highest: highest value in normal traffic.
        during: the value during the fault that is farthest from `before`.
    """

    panel: str
    legend: str
    unit: str
    before: float
    lowest: float
    highest: float
    during: float

    @property
    def is_clear_rise(self) -> bool:
        """Whether the value has risen by far above all that it had before."""
        return self.during > CLEAR * self.highest

    @property
    def is_clear(self) -> bool:
        """Whether the value has left the range that it had before by far."""
        return self.is_clear_rise or CLEAR * self.during < self.lowest

    @property
    def text(self) -> str:
        """The change in words."""
        values = f"{formatted(self.before, self.unit)} -> {formatted(self.during, self.unit)}"
        return f"{self.panel}, {self.legend}: {values}"


def change(timeline: Timeline, panel: str, legend: str) -> Change | None:
    """Return the change of one line; None if it has no data in the fault."""
    return next((one for one in _all(timeline) if (one.panel, one.legend) == (panel, legend)), None)


def clear(timeline: Timeline, count: int = 6) -> list[Change]:
    """Return clear changes, the largest of each panel: first those of the incident, then from top to bottom."""
    chosen = [change(timeline, *key) for key in timeline.incident.panels.items()]
    found = {one.panel: one for one in chosen if one is not None}
    for one in sorted(_all(timeline), key=lambda one: abs(one.during - one.before), reverse=True):
        if one.is_clear:
            found.setdefault(one.panel, one)
    order = [*timeline.incident.panels, *(graph.title for graph in timeline.graphs)]
    return sorted(found.values(), key=lambda one: order.index(one.panel))[:count]


def _all(timeline: Timeline) -> Iterator[Change]:
    for graph in timeline.graphs:
        yield from (found for line in graph.lines if (found := _of_line(timeline, graph, line)))


def _of_line(timeline: Timeline, graph: Graph, line: Line) -> Change | None:
    if not (values := line.between(timeline.fault, timeline.removed)):
        return None
    normal = line.between(timeline.start, timeline.fault) or [0.0]
    before = statistics.fmean(normal)
    during = max(values, key=lambda value: abs(value - before))
    return Change(graph.title, line.legend, graph.unit, before, min(normal), max(normal), during)


def formatted(value: float, unit: str) -> str:
    """Return a value with a unit of Grafana, for people."""
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB" if value >= 2**20 else f"{value:.0f} B"
    if unit == "percentunit":
        return f"{value:.1%}"
    return f"{value:.3g}{ {'ops': '/s', 'reqps': '/s', 's': ' s'}.get(unit, '') }"
