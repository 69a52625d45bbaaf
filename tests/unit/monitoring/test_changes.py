"""The report finds the panels that an incident changed."""

import pytest

from tests.incidents import changes, report
from tests.incidents.dashboard import Graph, Line
from tests.incidents.incidents import INCIDENTS
from tests.incidents.timeline import Alert, Timeline

OUTAGE = next(one for one in INCIDENTS if one.name == "upstream-stopped")


def timeline(*graphs: Graph) -> Timeline:
    """Return an incident with 10 s of normal traffic and 20 s of a fault."""
    alert = Alert("EmbedwireUpstreamUnreachable", "critical", "upstream", 6.0, 35.0)
    return Timeline(OUTAGE, start=100, fault=110, removed=130, end=150, alerts=[alert], graphs=list(graphs))


def graph(title: str, normal: float | None, fault: float, unit: str = "reqps") -> Graph:
    points = [(115.0, fault), (125.0, fault)]
    return Graph(title, unit, [Line("one", points if normal is None else [(105.0, normal), *points])])


def test_clear_changes() -> None:
    """Changes by more than a factor of 3 are found, in the order of the dashboard."""
    seen = timeline(graph("a", 1, 10), graph("b", None, 1), graph("c", 20, 0), graph("d", 4, 5), graph("e", 0, 0))
    found = [(one.panel, one.before, one.during) for one in changes.clear(seen)]
    assert found == [("a", 1, 10), ("b", 0, 1), ("c", 20, 0)]


def test_a_value_within_its_normal_range() -> None:
    """A value that normal traffic also had is no change."""
    points = [(102.0, 0.1), (105.0, 9.0), (108.0, 0.1), (115.0, 8.0)]
    assert changes.clear(timeline(Graph("a", "s", [Line("one", points)]))) == []


def test_panels_of_the_incident_are_first() -> None:
    """The panels that the incident names precede clear changes of others."""
    own = Graph("Connection failures by cause", "ops", [Line("connection_refused", [(105.0, 1.0), (115.0, 2.0)])])
    assert [one.panel for one in changes.clear(timeline(graph("b", None, 1), own))] == [own.title, "b"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0042, "s", "4.2 ms"),
        (2.5, "s", "2.5 s"),
        (80, "bytes", "80 B"),
        (3 << 20, "bytes", "3 MiB"),
        (9.81, "ops", "9.81/s"),
    ],
)
def test_a_value_with_its_unit(value: float, unit: str, text: str) -> None:
    """Values have a unit that people read easily."""
    assert changes.formatted(value, unit) == text


def test_the_table() -> None:
    """A row has the time until the alert fires, on this machine and in production, and until it ends."""
    (row,) = report.rows([timeline()], 20)
    assert row[4:] == ("6.0 s", "2.0 min", "5.0 min")
