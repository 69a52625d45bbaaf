"""Kubernetes manifests of the pages agree with the server and its image."""

import re
from typing import Any

import pytest
import yaml

from embedwire_server.config.setting_table import ALL
from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.owners import MANIFESTS, owned

IMAGE_PORTS = {int(port) for port in re.findall(r"(?m)^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text())[0].split()}
VARIABLES = {setting.variable for setting in ALL.values()} | {"TWELVELABS_API_KEY"}
SERVICES = {None, "embedwire.v1.EmbeddingService"}
QUANTITY = re.compile(r"\d+(m|Ki|Mi|Gi)?")


def container(block: Block) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the specification of a pod, and its container."""
    spec = yaml.safe_load(block.text)["spec"]
    (only,) = spec["containers"]
    return spec, only


MANIFEST = pytest.mark.parametrize("block", owned(blocks(), MANIFESTS), ids=lambda block: block.place)


@MANIFEST
def test_settings(block: Block) -> None:
    """Each environment variable is a setting, and its value is a string."""
    for variable in container(block)[1]["env"]:
        assert variable["name"] in VARIABLES
        assert isinstance(variable.get("value", ""), str), variable


@MANIFEST
def test_ports_and_probes(block: Block) -> None:
    """The ports are those of the image; each probe calls one of them, for a service of the server."""
    pod = container(block)[1]
    assert {port["containerPort"] for port in pod["ports"]} == IMAGE_PORTS
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert pod[kind]["grpc"]["port"] in IMAGE_PORTS
        assert pod[kind]["grpc"].get("service") in SERVICES


@MANIFEST
def test_volumes_and_quantities(block: Block) -> None:
    """Each mounted volume is defined and used; quantities and durations have the right types."""
    spec, pod = container(block)
    assert sorted(mount["name"] for mount in pod["volumeMounts"]) == sorted(each["name"] for each in spec["volumes"])
    assert isinstance(spec["terminationGracePeriodSeconds"], int)
    for amounts in pod["resources"].values():
        assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values()), amounts
