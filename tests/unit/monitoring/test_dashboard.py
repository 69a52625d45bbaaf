"""The dashboard is complete, and refers only to metrics, labels and alerts that exist."""

import dataclasses
import itertools
import json
import re
from typing import Any

import pytest

from deploy.monitoring import dashboard
from deploy.monitoring.alerts import ALERTS
from deploy.monitoring.panel import Query
from tests.incidents.incidents import INCIDENTS

FILE: dict[str, Any] = json.loads(dashboard.FILE.read_text())
PANELS = [panel for panel in FILE["panels"] if panel["type"] != "row"]
UNITS = {"bytes", "ops", "percentunit", "reqps", "s", "short"}  # of Grafana


def title_of(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def test_the_file_is_current() -> None:
    """The committed file is the one that the panels generate."""
    assert dashboard.FILE.read_text() == dashboard.text()


@pytest.mark.parametrize("panel", PANELS, ids=title_of)
def test_a_panel(panel: dict[str, Any]) -> None:
    """A panel has a unit, a description and a query; each query has a legend and selects the chosen servers."""
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"].endswith(".")
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        selectors = re.findall(r"\{(.*?)\}", target["expr"])
        assert selectors
        assert all('job=~"$job", instance=~"$instance"' in selector for selector in selectors)


def test_panels_are_unique() -> None:
    """Titles and identifiers of panels are unique, and queries within a panel have different identifiers."""
    assert len({title_of(panel) for panel in PANELS}) == len(PANELS)
    assert len({panel["id"] for panel in FILE["panels"]}) == len(FILE["panels"])
    for panel in PANELS:
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_panels_do_not_overlap() -> None:
    """Panels fill the grid of 24 columns without overlaps."""
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in FILE["panels"]
        for x, y in itertools.product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))


def test_variables_are_defined() -> None:
    """Each variable in a query is one of the dashboard or one of Grafana."""
    defined = {variable["name"] for variable in FILE["templating"]["list"]} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(FILE))) <= defined


def test_all_jobs_are_those_of_embedwire() -> None:
    """`All` stands for the listed jobs, and not for all of Prometheus: others have metrics of processes as well."""
    (job,) = [each for each in FILE["templating"]["list"] if each["name"] == "job"]

    assert job["definition"] == 'label_values(embedwire_build_info{namespace=~"$namespace"}, job)'
    assert "allValue" not in job


def test_namespaces_are_separate() -> None:
    """Queries select by namespace and job, since jobs of two namespaces may have one name; `All` is also no label."""
    (namespace,) = [each for each in FILE["templating"]["list"] if each["name"] == "namespace"]
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]

    assert namespace["allValue"] == ".*"
    for expression in expressions:
        assert expression.count('job=~"$job"') == expression.count('namespace=~"$namespace", job=~"$job"') > 0


def test_each_alert_has_a_panel() -> None:
    """Every alert is linked from a panel that shows its cause."""
    links = {link["title"] for panel in PANELS for link in panel["links"]}
    assert links == {alert.name for alert in ALERTS}


def test_panels_of_incidents_exist() -> None:
    """The incidents name panels and alerts that exist."""
    assert {panel for incident in INCIDENTS for panel in incident.panels} <= {title_of(panel) for panel in PANELS}
    assert {alert for incident in INCIDENTS for alert in incident.alerts} <= {alert.name for alert in ALERTS}


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("sum(rate(embedwire_input_total{$server}[$window]))", "embedwire_input_total"),
        ('up{$server, model="x"}', "model"),
    ],
)
def test_a_query_with_a_wrong_name_is_rejected(expression: str, name: str) -> None:
    """A query with an unknown metric or label raises an error that names it."""
    wrong = dataclasses.replace(dashboard.ROWS[0].panels[0], queries=(Query(expression, "x"),))
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        dashboard.rendered(wrong)


def test_a_link_to_a_wrong_alert_is_rejected() -> None:
    """A panel cannot refer to an alert that does not exist."""
    wrong = dataclasses.replace(dashboard.ROWS[0].panels[0], alerts=("EmbedwireFine",))
    with pytest.raises(KeyError, match="EmbedwireFine"):
        dashboard.rendered(wrong)
