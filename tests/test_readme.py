"""The README's tables say what the code says."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from serving import Served

from embedwire_server.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_every_setting_is_listed_with_its_default() -> None:
    """Flags, variables and defaults of the configuration table are those of the settings."""
    rows = re.findall(r"^\| `--([a-z-]+)` \| `(\w+)` \| (?:`(.*?)`)? \|", README, re.MULTILINE)
    settings = {name.replace("_", "-"): field for name, field in Settings.model_fields.items()}

    assert {flag for flag, _, _ in rows} == set(settings) - {"api-key", "models"}
    for flag, variable, default in rows:
        assert variable == f"EMBEDWIRE_{flag.replace('-', '_').upper()}"
        assert default == ("" if settings[flag].default is None else str(settings[flag].default))


async def test_every_metric_is_listed_with_its_labels(served: Served) -> None:
    """The metrics table names every metric of ours, and none that does not exist."""
    listed = set(re.findall(r"`((?:embedwire|grpc_server)_\w+)`", README.partition("## Metrics")[2]))
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(served.metrics())
        if family.name.startswith(("embedwire_", "grpc_server_"))
    }

    assert listed == {name for name in found if not name.endswith("_created")}
