"""Alerts and dashboard show each incident: real servers on a real Prometheus."""

from collections.abc import Mapping

import pytest

from tests.incidents import changes, dashboard
from tests.incidents.incidents import INCIDENTS, Incident
from tests.incidents.timeline import Timeline

pytestmark = pytest.mark.timeout(300)  # the first test waits for all incidents

Timelines = Mapping[str, Timeline]
FAULTS = [one for one in INCIDENTS if one.party]


def name_of(incident: Incident) -> str:
    return incident.name


@pytest.mark.parametrize("incident", FAULTS, ids=name_of)
def test_the_alerts_of_an_incident_fire(incident: Incident, timelines: Timelines) -> None:
    """Each alert that an incident must raise fires during the fault."""
    timeline = timelines[incident.name]
    fired = {alert.name for alert in timeline.alerts if 0 < alert.fired <= timeline.removed - timeline.fault}
    assert incident.alerts <= fired


@pytest.mark.parametrize("incident", FAULTS, ids=name_of)
def test_the_alerts_of_an_incident_end(incident: Incident, timelines: Timelines) -> None:
    """No alert of an incident remains after its fault."""
    assert [alert.name for alert in timelines[incident.name].alerts if alert.resolved is None] == []


@pytest.mark.parametrize("incident", FAULTS, ids=name_of)
def test_no_other_party_is_paged(incident: Incident, timelines: Timelines) -> None:
    """Critical alerts name the party at fault."""
    alerts = timelines[incident.name].alerts
    assert {alert.party for alert in alerts if alert.severity == "critical"} <= {incident.party}


def test_nothing_fires_without_a_fault(timelines: Timelines) -> None:
    """Normal traffic raises no alert, and all of its calls succeed."""
    assert timelines["control"].alerts == []
    assert set(timelines["control"].codes) == {"OK"}


@pytest.mark.parametrize("incident", FAULTS, ids=name_of)
def test_panels_show_an_incident(incident: Incident, timelines: Timelines) -> None:
    """Each panel that an incident must change has a line that rises by far during the fault."""
    found = {key: changes.change(timelines[incident.name], *key) for key in incident.panels.items()}
    assert {key: one for key, one in found.items() if one is None or not one.is_clear_rise} == {}


@pytest.mark.parametrize("incident", [one for one in FAULTS if one.page], ids=name_of)
def test_the_status_page_shows_an_incident(incident: Incident, timelines: Timelines) -> None:
    """The status page has a new row for the reason of the failures."""
    assert [line for line in timelines[incident.name].status_page if line.startswith(f"{incident.page}: 1 min ")]


# The incidents have no Redis; tests/prometheus has the queries of these panels.
OF_REDIS = {
    "Servers by use of the quota",
    "Redis operations",
    "Duration of Redis operations",
    "Failed Redis operations",
}


def test_each_panel_has_data(timelines: Timelines) -> None:
    """Every panel has data in at least one incident, apart from those of faults that did not happen."""
    shown = {
        graph.title for one in timelines.values() for graph in one.graphs if any(line.points for line in graph.lines)
    }
    assert {panel["title"] for panel in dashboard.panels()} - shown <= {"Expired inputs"} | OF_REDIS
