"""How much each panel changed during an incident."""

import dataclasses
import statistics
from collections.abc import Iterator

from tests.incidents.dashboard import Graph, Line
from tests.incidents.timeline import Timeline

CLEAR = 3.0  # times its normal value, or from 0


@dataclasses.dataclass(frozen=True)
class Change:
    """The change of one line of a panel: its mean in normal traffic, and its farthest value during the fault."""

    panel: str
    legend: str
    unit: str
    before: float
    during: float

    @property
    def size(self) -> float:
        """The size of the change, from 0 to 1: 1 for a value that was or becomes 0."""
        largest = max(abs(self.before), abs(self.during))
        return abs(self.during - self.before) / largest if largest else 0.0

    @property
    def is_clear_rise(self) -> bool:
        """Whether the value has risen by far."""
        return self.during > CLEAR * self.before

    @property
    def text(self) -> str:
        """The change in words."""
        values = f"{formatted(self.before, self.unit)} -> {formatted(self.during, self.unit)}"
        return f"{self.panel}, {self.legend}: {values}"


def change(timeline: Timeline, panel: str, legend: str) -> Change | None:
    """Return the change of one line; None if it has no data in the fault."""
    return next((one for one in _all(timeline) if (one.panel, one.legend) == (panel, legend)), None)


def largest(timeline: Timeline, count: int = 6) -> list[Change]:
    """Return the panels that changed most, each with the line that changed most: first those of the incident."""
    chosen = [change(timeline, *key) for key in timeline.incident.panels.items()]
    found = [one for one in chosen if one is not None]
    for one in sorted(_all(timeline), key=lambda one: one.size, reverse=True):
        if one.panel not in {other.panel for other in found} and one.size > 1 - 1 / CLEAR:
            found.append(one)
    return found[:count]


def _all(timeline: Timeline) -> Iterator[Change]:
    for graph in timeline.graphs:
        yield from (found for line in graph.lines if (found := _of_line(timeline, graph, line)))


def _of_line(timeline: Timeline, graph: Graph, line: Line) -> Change | None:
    if not (values := line.between(timeline.fault, timeline.removed)):
        return None
    before = statistics.fmean(line.between(timeline.start, timeline.fault) or [0.0])
    during = max(values, key=lambda value: abs(value - before))
    return Change(graph.title, line.legend, graph.unit, before, during)


def formatted(value: float, unit: str) -> str:
    """Return a value with a unit of Grafana, for people."""
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB" if value >= 2**20 else f"{value:.0f} B"
    if unit == "percentunit":
        return f"{value:.1%}"
    return f"{value:.3g}{ {'ops': '/s', 'reqps': '/s', 's': ' s'}.get(unit, '') }"
