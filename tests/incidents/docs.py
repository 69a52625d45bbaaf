"""Writes the results of `make incident` into docs/monitoring.md, and draws its plots: `make incident-docs`."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.incidents import plot
from tests.incidents.incidents import INCIDENTS

DATA, PAGE = Path("build/incidents.json"), Path("docs/monitoring.md")
OVERVIEW, OUTAGE = Path("docs/incidents.png"), Path("docs/outage.png")
_HEAD = "| incident | alert | severity | fires after | what the dashboard shows |\n|---|---|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|.*\n)+")

_MOST_PANELS = 3

Json = Mapping[str, Any]


def table(record: Json) -> str:
    """Return the table of incidents and their alerts.

    Raises:
        ValueError: an incident is missing.
    """
    if missing := {one.name for one in INCIDENTS} - {one["name"] for one in record["incidents"]}:
        raise ValueError(f"not in {DATA}: {', '.join(sorted(missing))}; run make incident without ONLY first")
    return _HEAD + "".join(line for incident in record["incidents"] for line in _lines(incident, record["factor"]))


def _lines(incident: Json, factor: float) -> Iterator[str]:
    shown = "<br>".join(_panel(one["text"]) for one in incident["dashboard"][:_MOST_PANELS] if incident["alerts"])
    for index, alert in enumerate(incident["alerts"] or [None]):
        first = (incident["sentence"], shown) if index == 0 else ("", "")
        cells = _cells(alert, factor) if alert else ("none", "", "")
        yield f"| {' | '.join([first[0], *cells, first[1]])} |\n"


def _panel(text: str) -> str:
    title, _, change = text.partition(", ")
    return f"*{title}*, {change.replace('->', 'to')}"


def _cells(alert: Json, factor: float) -> tuple[str, str, str]:
    link = f"[`{alert['name']}`](alerts.md#{alert['name'].lower()})"
    return link, alert["severity"], f"{alert['fired'] * factor / 60:.0f} min"


def main() -> int:
    """Change the page and its plots, or nothing."""
    record = json.loads(DATA.read_text())
    try:
        changed, count = _TABLE.subn(lambda _: table(record), PAGE.read_text())
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if count != 1:
        sys.stderr.write(f"{PAGE} has {count} tables of incidents instead of 1\n")
        return 1
    plot.draw(record, plot.OVERVIEW, "Six incidents on the dashboard", OVERVIEW)
    plot.draw(record, plot.OUTAGE, "An outage of the upstream on the dashboard", OUTAGE)
    PAGE.write_text(changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
