"""Every rendered object is valid for Kubernetes, for several sets of values."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import CASES, CHART, KUBERNETES, NAMESPACE, RELEASE, case, helm, one

CUSTOM = "monitoring.coreos.com/v1"  # test_monitoring.py
STANDARD = ("name", "instance", "component", "version", "managed-by")


@pytest.mark.parametrize("name", CASES)
def test_lint(name: str) -> None:
    """`helm lint --strict` finds nothing."""
    done = helm("lint", "--strict", "--kube-version", KUBERNETES[-1], str(CHART), values=CASES[name])

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", CASES)
def test_objects_are_valid(name: str, version: str) -> None:
    """Each object conforms to the strict schema of its API in the oldest and in the newest version of Kubernetes."""
    for found in case(name, version):
        if found["apiVersion"] != CUSTOM:
            assert kubernetes_validate.validate(found, version, strict=True) == version


@pytest.mark.parametrize("name", CASES)
def test_names_and_labels(name: str) -> None:
    """Each object is in the namespace of the release, has the standard labels, and a name of its own in its kind."""
    found = case(name)
    for each in found:
        metadata = each["metadata"]
        assert metadata["namespace"] == NAMESPACE
        assert {f"app.kubernetes.io/{label}" for label in STANDARD} <= metadata["labels"].keys()
        assert metadata["labels"]["app.kubernetes.io/instance"] == RELEASE
    assert len({(each["kind"], each["metadata"]["name"]) for each in found}) == len(found)


@pytest.mark.parametrize("name", CASES)
def test_selectors(name: str) -> None:
    """All selectors match the pods of the server and not the pod of `helm test`; none has a label that changes."""
    found = case(name)
    deployment = one(found, "Deployment")["spec"]
    pods, test = deployment["template"]["metadata"]["labels"], one(found, "Pod")["metadata"]["labels"]
    for selector in _selectors(found):
        assert selector.items() <= pods.items()
        assert not selector.items() <= test.items()
        assert not [label for label in selector if re.search("version|chart", label)]


def _selectors(found: list[Any]) -> list[dict[str, str]]:
    specs = [each["spec"] for each in found if each["kind"] in {"Deployment", "PodDisruptionBudget", "ServiceMonitor"}]
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in found if each["kind"] == "NetworkPolicy"]
    services = [each["spec"]["selector"] for each in found if each["kind"] == "Service"]
    return [*(spec["selector"]["matchLabels"] for spec in specs), *policies, *services]


def test_long_names() -> None:
    """With a release of 53 characters, the most that helm accepts, all objects are valid."""
    values = CASES["everything"] | {"fullnameOverride": "a" * 53}
    found = helm("template", "r" * 53, str(CHART), "--kube-version", KUBERNETES[-1], values=values)

    assert found.returncode == 0, found.stderr
    names = re.findall(r"(?m)^  name: (\S+)$", found.stdout)
    assert max(map(len, names)) <= 63


@pytest.mark.parametrize("name", ["123", "0x1f", "true"])
def test_names_that_look_like_other_values(name: str) -> None:
    """A name that YAML would read as a number or a boolean is a string in all objects."""
    named = {
        "fullnameOverride": name,
        "nameOverride": name,
        "serviceAccount": {"name": name},
        "priorityClassName": name,
    }
    keys = {"apiKey": {"existingSecret": name, "key": name}, "tls": {"existingSecret": name}}
    values = CASES["everything"] | named | keys | {"existingConfig": {"key": name}}
    done = helm("template", name, str(CHART), "--namespace", name, "--kube-version", KUBERNETES[-1], values=values)

    assert done.returncode == 0, done.stderr
    for found in filter(None, yaml.safe_load_all(done.stdout)):
        assert found["metadata"]["namespace"] == name
        assert found["apiVersion"] == CUSTOM or kubernetes_validate.validate(found, KUBERNETES[-1], strict=True)


def test_labels_of_the_user() -> None:
    """Labels of one object replace common labels of the same name, and neither replaces a standard one."""
    labels = one(case("everything"), "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert (labels["team"], labels["a"], labels["app.kubernetes.io/part-of"]) == ("search", "b", "embedwire")


def test_in_a_parent_chart() -> None:
    """Values that a parent chart adds, `global` and `enabled`, are accepted."""
    done = helm("lint", "--strict", str(CHART), values=CASES["secret"] | {"global": {"a": 1}, "enabled": True})

    assert done.returncode == 0, done.stdout
