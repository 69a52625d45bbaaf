"""Invalid values are errors that name the value; combinations that the server rejects are errors of the chart."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.reference import chart
from embedwire_server.config.setting_table import ALL, FILE_ONLY
from tests.chart.rendering import CASES, CHART, SECRET, case, container, objects, one, template

OPEN = {"allowInsecure": True}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"image": {"tagg": "1"}}, "at '/image': additional properties 'tagg' not allowed"),
        ({"replicaCount": "3"}, "at '/replicaCount': got string, want integer"),
        ({"config": {"log": {"levle": "info"}}}, "at '/config/log': additional properties 'levle' not allowed"),
        ({"config": {"log": {"level": "loud"}}}, "at '/config/log/level': value must be one of"),
        ({"config": {"server": {"listen": "0.0.0.0:1"}}}, "at '/config/server': additional properties 'listen'"),
        ({"config": {"upstream": {"api_key": "tlk"}}}, "at '/config/upstream': additional properties 'api_key'"),
        ({"config": {"workers": {"count": 2}}}, "at '/config': additional properties 'workers' not allowed"),
        ({"config": {"request_limits": {"inputs": 0}}}, "at '/config/request_limits/inputs': minimum: got 0, want 1"),
        ({"config": {"assets": {"max_age": "1 day"}}}, "at '/config/assets/max_age': '1 day' does not match"),
        ({"config": {"upstream": {"proxy": "http://u:p@proxy"}}}, "at '/config/upstream/proxy': "),
        ({"config": {"tokens": [{"name": "a"}]}}, "at '/config/tokens/0': missing property 'sha256'"),
        ({"config": {"tokens": [{"name": "a", "sha256": "secret"}]}}, "at '/config/tokens/0/sha256'"),
        ({"ports": {"grpc": 80}}, "at '/ports/grpc': minimum: got 80, want 1,024"),
        ({"listenHost": "localhost"}, "at '/listenHost': 'localhost' does not match pattern"),
        ({"shutdown": {"delay": "5 s"}}, "at '/shutdown/delay': '5 s' does not match pattern"),
        ({"shutdown": {"marginSeconds": 5}}, "at '/shutdown/marginSeconds': minimum: got 5, want 6"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "at '/extraEnv/0/value': got number, want string"),
        ({"readinessProbe": None, "image": None}, "missing properties 'image', 'readinessProbe'"),
        ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_schema_names_the_value(values: dict[str, Any], message: str) -> None:
    """A typing error or a value outside its bounds is reported with its path."""
    done = template(SECRET | OPEN | values)

    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (OPEN, "no upstream: set apiKey.existingSecret"),
        (OPEN | {"config": {"upstream": {"url": "https://api.twelvelabs.io/v1.3"}}}, "no upstream: set"),
        (SECRET, "no access control: set tls.existingSecret and config.tokens"),
        (OPEN | {"apiKey": {"existingSecret": "a", "value": "b"}}, "apiKey: set existingSecret or value, not both"),
        (SECRET | {"existingConfig": {"secret": "a", "configMap": "b"}}, "existingConfig: set configMap or secret"),
        (SECRET | OPEN | {"tls": {"mutual": True}}, "tls.mutual: needs tls.existingSecret"),
        (SECRET | OPEN | {"ports": {"health": 9464}}, "ports: grpc, health and metrics must be three different ports"),
        (SECRET | OPEN | {"autoscaling": {"enabled": True, "minReplicas": 9}}, "minReplicas must be at most"),
        (SECRET | OPEN | {"autoscaling": {"enabled": True, "inputsInFlight": 0}}, "set inputsInFlight or cpuPercent"),
        (OPEN | {"config": {"upstream": {"url": "http://a.example:8080/v1"}}}, "networkPolicy.egressPorts: add 8080"),
        (OPEN | {"config": {"upstream": {"url": "http://a.example/v1"}}}, "networkPolicy.egressPorts: add 80,"),
        (SECRET | OPEN | {"extraEnv": [{"name": "EMBEDWIRE_WORKERS", "value": "2"}]}, "a pod has one process"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_conflicts(values: dict[str, Any], message: str) -> None:
    """What the server would reject at its start, or what the cluster would block, is an error with the remedy."""
    done = template(values)

    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("name", [each["name"] for each in container(case("tls"))["env"]] + ["EMBEDWIRE_INSECURE"])
def test_variables_of_the_chart_cannot_be_overridden(name: str) -> None:
    """A variable that the chart sets is rejected in `extraEnv`, where it would take precedence."""
    done = template(SECRET | OPEN | {"extraEnv": [{"name": name, "value": "a"}]})

    assert done.returncode != 0
    assert f"extraEnv: {name} is set by the chart" in done.stderr


def test_every_value_has_a_schema_and_a_description() -> None:
    """Each default is described, and the schema has a property for it."""
    described = {row.split("`")[1] for row in list(chart.values())[2:]}
    assert described == set(_leaves(yaml.safe_load((CHART / "values.yaml").read_text()), described))


def _leaves(values: dict[str, Any], described: set[str], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        path = prefix + key
        is_leaf = path in described or not isinstance(value, dict)
        found += [path] if is_leaf else _leaves(value, described, f"{path}.")
    return found


def test_every_setting_has_a_value() -> None:
    """Each setting is a key of `config`, or the chart sets it; `TWELVELABS_API_KEY` is from a Secret."""
    text = objects(CASES["everything"])
    variables = {each["name"] for each in one(text, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]}
    of_chart = {setting.variable for setting in ALL.values() if setting.key in chart.OF_CHART}
    optional = {"EMBEDWIRE_INSECURE"} | {name for name in of_chart if name.startswith("EMBEDWIRE_WORKERS")}

    assert of_chart - optional <= variables
    assert {setting.key for setting in ALL.values()} >= chart.OF_CHART
    assert not FILE_ONLY & chart.OF_CHART


def test_notes(tmp_path: Path) -> None:
    """The notes have a complete call, warn about plaintext, and state what all pods together use of the quota."""
    found = notes(CASES["secret"] | {"config": {"rate_limits": {"text": {"requests_per_minute": 600}}}}, tmp_path)

    assert "dns:///search-embedwire.vectors.svc:50051" in found
    assert "grpcurl -plaintext" in found
    assert "WARNING: allowInsecure" in found
    assert "WARNING: each pod uses all of config.rate_limits" in found
    assert re.search(r"2 pods together use up to:\s+text.requests_per_minute = 1200\b", found)


def test_notes_of_a_secured_server(tmp_path: Path) -> None:
    """With TLS and tokens, the call of the notes has both, and there is no warning."""
    found = notes(CASES["tokens"], tmp_path)

    assert "grpcurl -cacert ca.crt" in found
    assert "authorization: Bearer ${EMBEDWIRE_TOKEN}" in found
    assert "WARNING" not in found


def notes(values: dict[str, Any], folder: Path) -> str:
    """Return NOTES.txt, rendered: as an object, since helm renders notes only if there is a cluster."""
    copy = shutil.copytree(CHART, folder / "chart")
    text = (copy / "templates/NOTES.txt").read_text()
    body = (
        '{{ define "notes" }}'
        + text
        + '{{ end }}\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | quote }}'
    )
    (copy / "templates/notes.yaml").write_text(body)
    return str(one(objects(values, chart=copy), "Notes")["text"])
