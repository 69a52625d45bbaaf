"""The page of metrics agrees with the code."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.serving import Served

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


async def test_every_metric_is_listed_with_its_labels(served: Served) -> None:
    """The metrics table lists every metric of the server with its labels, and no other."""
    listed = set(
        re.findall(
            r"`((?:embedwire|grpc_server)_\w+)`",
            PAGE.partition("<!-- generated: metrics -->")[2].partition("<!-- end -->")[0],
        )
    )
    found = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(served.metrics())
        if family.name.startswith(("embedwire_", "grpc_server_"))
    }

    assert listed == {name for name in found if not name.endswith("_created")}
