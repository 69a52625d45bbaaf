"""The page about monitoring shows the incidents and their alerts."""

import pytest

from docs.reference.__main__ import DOCS
from tests.incidents.incidents import INCIDENTS, Incident

TABLE = (DOCS / "monitoring.md").read_text().partition("## Incidents")[2].partition("\n## ")[0]


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_an_incident(incident: Incident) -> None:
    """The table has each incident with the alerts that must fire."""
    _, found, rest = TABLE.partition(f"| {incident.sentence} |")
    assert found
    rows = _rows(rest)
    assert all(f"[`{alert}`](alerts.md#{alert.lower()})" in rows for alert in incident.alerts)


def _rows(text: str) -> str:
    """Return the rest of a row, and the rows below it that have no incident of their own."""
    first, *others = text.splitlines()
    rows = [first]
    for line in others:
        if not line.startswith("|  |"):
            break
        rows.append(line)
    return "\n".join(rows)
