"""The page of the chart: its values render, and the values, settings and metrics that it names exist."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from embedwire_server.config.setting_table import BY_KEY
from tests.chart.mounting import Mounts
from tests.chart.rendering import CHART, KUBERNETES, ROOT, configuration, objects
from tests.chart.test_objects import CUSTOM
from tests.docs.blocks import Block, blocks
from tests.docs.owners import CHART as THIS_TEST
from tests.docs.owners import owned

PAGE = ROOT / "docs/kubernetes.md"
BLOCKS = [(block, yaml.safe_load(block.text)) for block in owned(blocks(), THIS_TEST)]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
OF_CHART = [block for block, values in BLOCKS if values.keys() <= VALUES.keys()]
OTHER = [block for block, values in BLOCKS if not values.keys() <= VALUES.keys()]
NO_VALUES = {"tls.crt", "tls.key", "resources.limits.cpu"}  # keys of a Secret, and what the chart leaves unset


@pytest.mark.parametrize("block", OF_CHART, ids=lambda block: block.place)
async def test_values_of_the_page(block: Block, tmp_path: Path) -> None:
    """Each example is a complete set of values: the objects are valid, and the server accepts the configuration."""
    rendered = objects(yaml.safe_load(block.text))
    for found in rendered:
        if found["apiVersion"] != CUSTOM:
            kubernetes_validate.validate(found, KUBERNETES[-1], strict=True)
    assert configuration(rendered)
    code, output, errors = await Mounts(tmp_path, rendered).config_check()
    assert (code, output) == (0, "OK\n"), errors


def test_rule_of_the_metrics_adapter() -> None:
    """The rule for the adapter refers to the metric of the autoscaler, and sums it over its labels."""
    (block,) = OTHER
    (rule,) = yaml.safe_load(block.text)["rules"]["custom"]
    target = objects({"apiKey": {"existingSecret": "a"}, "allowInsecure": True, "autoscaling": {"enabled": True}})
    (scaler,) = [found for found in target if found["kind"] == "HorizontalPodAutoscaler"]
    assert rule["seriesQuery"].partition("{")[0] == scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert rule["metricsQuery"].startswith("sum by")


def test_names_of_the_page() -> None:
    """Each value in inline code exists: in values.yaml, or as a setting, alone or in `config`."""
    text = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    dotted = set(re.findall(r"`([a-z]\w*(?:\.\w+)+)`", text)) - NO_VALUES
    names = {name for name in dotted if name.partition(".")[0] in VALUES}
    assert len(names) > 40
    assert sorted(name for name in names if not _exists(name)) == []


def _exists(name: str) -> bool:
    key = name.removeprefix("config.")
    if key in BY_KEY or any(known.startswith(f"{key}.") for known in BY_KEY):
        return True
    found: Any = VALUES
    for part in name.split("."):
        if not isinstance(found, dict) or (found and part not in found):
            return False
        found = found.get(part, {})
    return True
