"""ServiceMonitor, rules and dashboard; the custom resources are checked against the fields that their API has.

The schemas have the fields of the Prometheus operator that a chart sets: the operator's own definitions are in no
package.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.rendering import CASES, CHART, Object, case, objects, one

DURATION = {"type": "string", "pattern": r"^([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(*required: str, **properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has these properties only."""
    return {"type": "object", "additionalProperties": False, "required": [*required], "properties": properties}


RULE = closed(
    "expr",
    alert={"type": "string", "minLength": 1},
    record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"},
    expr={"type": ["string", "integer"]},
    keep_firing_for=DURATION,
    labels=LABELS,
    annotations=LABELS,
    **{"for": DURATION},
) | {"oneOf": [{"required": ["alert"]}, {"required": ["record"]}]}
GROUP = closed(
    "name", name={"type": "string", "minLength": 1}, interval=DURATION, rules={"type": "array", "items": RULE}
)
RULES = closed("groups", groups={"type": "array", "minItems": 1, "items": GROUP})
ENDPOINT = closed("port", port={"type": "string"}, path={"type": "string"}, interval=DURATION, scrapeTimeout=DURATION)
MONITOR = closed(
    "selector",
    "endpoints",
    selector=closed(matchLabels=LABELS),
    endpoints={"type": "array", "minItems": 1, "items": ENDPOINT},
)
# Stand-ins while the chart lacks the files; with the braces of the templates of both programs.
SAMPLES = {
    "rules.yaml": """\
groups:
  - name: sample
    rules:
      - record: sample:inputs
        expr: sum(embedwire_inputs_in_flight)
      - alert: Sample
        expr: sample:inputs > 1
        for: 5m
        annotations: {summary: "{{ $labels.modality }} has {{ $value }}"}
""",
    "dashboard.json": json.dumps({"title": "Sample", "panels": [{"legend": "{{modality}}"}]}, indent=2) + "\n",
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """Return a copy of the chart that has rules and a dashboard."""
    copy = shutil.copytree(CHART, tmp_path / "chart")
    for name, text in SAMPLES.items():
        if not (file := copy / "files" / name).exists():
            file.write_text(text)
    return copy


def test_service_monitor() -> None:
    """The ServiceMonitor selects one Service, by its labels and the name of its port."""
    found = case("everything")
    monitor = one(found, "ServiceMonitor")
    jsonschema.validate(monitor["spec"], MONITOR)
    wanted, port = monitor["spec"]["selector"]["matchLabels"], monitor["spec"]["endpoints"][0]["port"]
    services = [each for each in found if each["kind"] == "Service"]
    assert len(services) == 2
    assert [each["metadata"]["name"] for each in services if _is_scraped(each, wanted, port)] == ["search-embedwire"]


def _is_scraped(service: Object, wanted: dict[str, str], port: str) -> bool:
    has_port = port in {each["name"] for each in service["spec"]["ports"]}
    return has_port and wanted.items() <= service["metadata"]["labels"].items()


def test_rules_and_dashboard(chart: Path) -> None:
    """ConfigMaps have the files unchanged, the PrometheusRule has the groups; all have the configured labels."""
    found = objects(CASES["everything"], chart=chart)
    rules = (chart / "files/rules.yaml").read_text()
    dashboard = (chart / "files/dashboard.json").read_text()

    rule = one(found, "PrometheusRule")
    jsonschema.validate(rule["spec"], RULES)
    assert rule["spec"] == yaml.safe_load(rules)
    (text,) = one(found, "ConfigMap", ".*-rules")["data"].values()
    assert yaml.safe_load(text) == yaml.safe_load(rules)
    (text,) = one(found, "ConfigMap", ".*-dashboard")["data"].values()
    assert json.loads(text) == json.loads(dashboard)
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert one(found, "ConfigMap", ".*-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len(json.dumps(found)) < 1 << 20  # the limit of an object, and of the Secret with the release


def test_absent_files(chart: Path) -> None:
    """Without the files, nothing is rendered of them."""
    for name in SAMPLES:
        (chart / "files" / name).unlink()
    found = objects(CASES["everything"], chart=chart)
    kinds = {(each["kind"], re.sub("^.*embedwire", "", each["metadata"]["name"])) for each in found}

    assert not {("PrometheusRule", ""), ("ConfigMap", "-rules"), ("ConfigMap", "-dashboard")} & kinds
    assert ("ServiceMonitor", "") in kinds
