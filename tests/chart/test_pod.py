"""The pod agrees with the settings of the server, with the image and with the other objects."""

import json
import math
import re
from typing import Any

import pytest

from docs.reference import sizing
from embedwire_server.config.fields import seconds_of
from embedwire_server.config.setting_table import ALL, BY_KEY
from embedwire_server.core.address import Address
from tests.chart.rendering import CASES, ROOT, SECRET, Object, case, container, objects, one, pod

DOCKERFILE = (ROOT / "Dockerfile").read_text()
OWN_VARIABLES = {setting.variable for setting in ALL.values()}
OTHER_VARIABLES = re.compile(r"OTEL_[A-Z_]+|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|TMPDIR")
FLAGS = {setting.flag for setting in ALL.values()}
SUPERVISOR_SECONDS = 6  # docs/operations.md: what a shutdown takes at most in addition
EVERY = pytest.mark.parametrize("name", CASES)
OPEN = SECRET | {"allowInsecure": True}


def environment(found: list[Object]) -> dict[str, str]:
    """Return the variables that have a value."""
    return {each["name"]: each["value"] for each in container(found)["env"] if "value" in each}


def ports(found: list[Object]) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container(found)["ports"]}


@EVERY
def test_variables_and_flags(name: str) -> None:
    """Each variable is a setting or one of a library, set once, as a string; each flag is a setting."""
    names = [each["name"] for each in container(case(name))["env"]]
    assert len(names) == len(set(names))
    assert [each for each in names if each not in OWN_VARIABLES and not OTHER_VARIABLES.fullmatch(each)] == []
    for found in (container(case(name)), one(case(name), "Pod")["spec"]["containers"][0]):
        assert all(isinstance(each.get("value", ""), str) for each in found["env"])
        command, *arguments = found["args"]
        assert command in {"serve", "health"}
        assert {each for each in arguments if each.startswith("-")} <= FLAGS


@EVERY
def test_ports(name: str) -> None:
    """The ports of container, probes, Services and network policy are those on which the server listens."""
    found = case(name)
    listening = ports(found)
    variables = environment(found)
    assert listening == {
        port: Address(variables[variable]).port
        for port, variable in {
            "grpc": "EMBEDWIRE_LISTEN",
            "grpc-health": "EMBEDWIRE_HEALTH_LISTEN",
            "metrics": "EMBEDWIRE_METRICS_LISTEN",
        }.items()
    }
    probes = [container(found)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [(probe["port"], probe["path"]) for probe in probes] == [
        ("metrics", "/livez"),
        ("metrics", "/livez"),
        ("metrics", "/readyz"),
    ]
    for service in (each["spec"] for each in found if each["kind"] == "Service"):
        assert all(listening[port["targetPort"]] == port["port"] for port in service["ports"])
        assert all(port["name"] == port["targetPort"] for port in service["ports"])
    allowed = {port["port"] for rule in _ingress(found) for port in rule["ports"]}
    assert allowed in (set(), set(listening.values()))


def _ingress(found: list[Object]) -> list[dict[str, Any]]:
    return [rule for each in found if each["kind"] == "NetworkPolicy" for rule in each["spec"]["ingress"]]


@EVERY
def test_ingress_has_peers(name: str) -> None:
    """No rule of the network policy accepts every peer, which a rule without peers does."""
    assert all(rule["from"] for rule in _ingress(case(name)))


def test_no_peers() -> None:
    """Empty lists of peers accept none but the pod of `helm test`."""
    (rule,) = _ingress(objects(OPEN | {"networkPolicy": {"from": [], "metricsFrom": None}}))

    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"


def test_default_ports_are_those_of_the_image() -> None:
    """Without values, the ports are those that the image exposes, and the spool is its volume."""
    exposed = re.findall(r"(?m)^EXPOSE (.*)$", DOCKERFILE)[0].split()
    assert set(ports(case("secret")).values()) == set(map(int, exposed))
    (volume,) = re.findall(r"(?m)^VOLUME (.*)$", DOCKERFILE)
    assert environment(case("secret"))["EMBEDWIRE_UPLOADS_SPOOL_DIR"] == volume


def test_the_image_leaves_no_setting_to_the_file() -> None:
    """What the image sets by variables, which precede the file, the chart sets as well."""
    of_image = set(re.findall(r"(?m)^    (EMBEDWIRE_\w+)=", DOCKERFILE))

    assert of_image <= environment(case("secret")).keys()


@pytest.mark.parametrize("name", [name for name in CASES if name != "minimal"])
def test_hardening(name: str) -> None:
    """The pods are as restricted as the image allows: the restricted Pod Security Standard, and a read-only root."""
    for spec in (pod(case(name)), one(case(name), "Pod")["spec"]):
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        secured = spec["securityContext"]
        (user,) = re.findall(r"(?m)^USER (\d+):\d+$", DOCKERFILE)
        assert (secured["runAsNonRoot"], str(secured["runAsUser"])) == (True, user)
        assert secured["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in (found["securityContext"] for found in spec["containers"]):
            assert each["readOnlyRootFilesystem"] is True
            assert each["allowPrivilegeEscalation"] is False
            assert each["privileged"] is False
            assert each["capabilities"] == {"drop": ["ALL"]}


@EVERY
def test_volumes(name: str) -> None:
    """Each volume is mounted, each mount has its volume, and only the spool is writable."""
    spec, server = pod(case(name)), container(case(name))
    mounts = {each["mountPath"]: each for each in server["volumeMounts"]}
    assert sorted(each["name"] for each in mounts.values()) == sorted(each["name"] for each in spec["volumes"])
    writable = [path for path, mount in mounts.items() if not mount.get("readOnly")]
    assert writable == [environment(case(name))["EMBEDWIRE_UPLOADS_SPOOL_DIR"]]
    assert not any("subPath" in mount for mount in mounts.values())  # Kubernetes would not update it
    (spool,) = [each for each in spec["volumes"] if each["name"] == "spool"]
    assert "ephemeral" in spool or spool["emptyDir"]["sizeLimit"]
    named = [text for key, text in environment(case(name)).items() if "_TLS_" in key or key == "EMBEDWIRE_CONFIG"]
    assert all(text.rpartition("/")[0] in mounts for text in named)


@EVERY
def test_secrets_are_readable_by_the_group_only(name: str) -> None:
    """Mounted Secrets are readable by user and group; the server warns about keys that every user can read."""
    modes = [each["secret"]["defaultMode"] for each in pod(case(name))["volumes"] if "secret" in each]

    assert all(mode == 0o440 for mode in modes)


@EVERY
def test_termination(name: str) -> None:
    """The pod has more time than the shutdown takes at most."""
    variables = environment(case(name))
    delay, grace = (
        float(seconds_of(variables[f"EMBEDWIRE_SHUTDOWN_{part}"]))  # type: ignore[arg-type]
        for part in ("DELAY", "GRACE_PERIOD")
    )
    assert pod(case(name))["terminationGracePeriodSeconds"] >= delay + grace + SUPERVISOR_SECONDS


@pytest.mark.parametrize("text", ["0s", "1h30m", "500ms", "2.5s", "1d", 45, 0.5, "2m30s", "7"])
def test_durations(text: str | float) -> None:
    """Durations of the chart are those of the server, rounded up."""
    spec = pod(objects(OPEN | {"shutdown": {"delay": text, "gracePeriod": "0s"}}))

    assert spec["terminationGracePeriodSeconds"] == math.ceil(float(seconds_of(text))) + 10  # type: ignore[arg-type]


def test_the_api_key_is_in_no_object_but_its_secret() -> None:
    """A key that is a value is in the Secret only; the pods refer to it."""
    found = case("tokens")
    secret = one(found, "Secret", ".*-api-key")
    (variable,) = [each for each in container(found)["env"] if each["name"] == "TWELVELABS_API_KEY"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": secret["metadata"]["name"], "key": "api-key"}
    assert json.dumps(found).count("tlk_test") == 1


def test_autoscaling() -> None:
    """The Deployment leaves the number of pods to the autoscaler, which refers to it and to a metric of the server."""
    found = case("autoscaling")
    deployment, autoscaler = one(found, "Deployment"), one(found, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in deployment["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert [next(iter(each.keys() - {"type"})) for each in autoscaler["metrics"]] == ["pods", "resource"]
    metric = autoscaler["metrics"][0]["pods"]["metric"]["name"]
    assert f"| `{metric}` | gauge |" in (ROOT / "docs/metrics.md").read_text()


def test_the_limit_of_memory_is_enough() -> None:
    """The default limit holds the server at rest, all of the buffered content, and the growth of two measured loads."""
    assert re.fullmatch(r"\d+Mi", limit := container(case("secret"))["resources"]["limits"]["memory"])
    measured = sizing.results()
    loads = sorted(measured[row] for _, load, row in sizing.ROWS if load != "at rest")
    buffered = BY_KEY["concurrency.max_buffered_bytes"].field.default / (1 << 20)
    assert int(limit.removesuffix("Mi")) >= measured["memory at rest, MiB"] + buffered + sum(loads[-2:])


def test_the_spool_holds_the_largest_uploads() -> None:
    """The default size of the spool is that of the 40 uploads that the page states."""
    (spool,) = [each["emptyDir"] for each in pod(case("secret"))["volumes"] if each["name"] == "spool"]

    assert int(spool["sizeLimit"].removesuffix("Gi")) << 30 == 40 * BY_KEY["request_limits.upload_bytes"].field.default
