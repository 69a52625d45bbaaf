"""The table of docs/metrics.md agrees with the metrics of a server."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.serving import Served

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
TABLE = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[^|]*) \|", re.MULTILINE)
ONLY_WITH_A_QUOTA_STORE = {"embedwire_quota_shared"}


async def test_every_metric_is_listed_with_its_labels(served: Served) -> None:
    """The table lists every metric of the server with its type and the labels of its samples, and no other."""
    listed = {row["name"]: row for row in TABLE.finditer(PAGE.read_text())}
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(served.metrics())
        if family.name.startswith(("embedwire_", "grpc_server_"))
    }

    for name in ONLY_WITH_A_QUOTA_STORE:
        del listed[name]
    assert {name: row["type"] for name, row in listed.items()} == {
        name: family.type for name, family in families.items() if not name.endswith("_created")
    }
    for name, row in listed.items():
        labels = {frozenset(sample.labels) - {"le"} for sample in families[name].samples}
        assert labels <= {frozenset(re.findall(r"`(\w+)`", row["labels"]))}
