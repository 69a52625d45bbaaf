"""Lets all incidents happen, and prints which alerts fired and what the dashboard showed: `make incident`."""

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path

from tests.incidents import report
from tests.incidents.incidents import INCIDENTS
from tests.incidents.stage import FACTOR, perform

DIRECTORY = Path("build/incidents")


def main() -> int:
    """Return 1 if an alert that must fire did not, or if one fired without a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.incidents", description=__doc__)
    names = [one.name for one in INCIDENTS]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, default=names, help="only these")
    parser.add_argument("--factor", type=float, default=FACTOR, help="divides all durations of rules (%(default)g)")
    parser.add_argument("--json", type=Path, help="file for all data, which the plots use")
    chosen = parser.parse_args()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    incidents = [one for one in INCIDENTS if one.name in chosen.only]
    timelines = asyncio.run(perform(incidents, DIRECTORY, chosen.factor))
    for timeline in timelines:
        print("\n".join(report.details(timeline, chosen.factor)), end="\n\n")  # noqa: T201 - the output of the command
    print("\n".join(report.table(timelines, chosen.factor)))  # noqa: T201 - the same
    if chosen.json:
        chosen.json.write_text(json.dumps(report.record(timelines, chosen.factor)) + "\n")
    is_expected = all(
        one.incident.alerts <= one.fired and bool(one.fired) == bool(one.incident.party) for one in timelines
    )
    return 0 if is_expected else 1


if __name__ == "__main__":
    sys.exit(main())
