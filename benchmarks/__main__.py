"""Measures the rows and prints one line for each: `make bench`, or `make bench ROWS="text sdk"` for some of them."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import (
    audio,
    connections,
    decoding,
    hits,
    latency,
    machine,
    memory,
    peers,
    plot,
    reading,
    recordings,
    report,
    start,
    texts,
    traces,
    workers,
)
from benchmarks.processes import OTHER_CORE
from benchmarks.rows import ALL, Figure, Measured, Row
from benchmarks.stage import Stage, opened

MODULES = (
    texts,
    traces,
    latency,
    peers,
    workers,
    decoding,
    audio,
    memory,
    reading,
    start,
    connections,
    recordings,
    hits,
)  # register their rows
BUILD = Path("build")
ROWS = sorted(ALL.values(), key=lambda row: row.number)
BOUNDS = [bound for row in ROWS for bound in row.bounds]


async def measure(row: Row, stage: Stage) -> list[Figure]:
    """Measure one row and print it; a failure does not prevent the other rows."""
    watch = machine.Watch()
    try:
        measured = await row.play(stage)
    except Exception as error:  # noqa: BLE001 - the other rows still run
        measured = Measured((), [repr(error)])
    print(report.lines(row, measured, str(watch)), flush=True)  # noqa: T201 - the command's output
    return row.figures(measured)


async def measure_all(rows: list[Row], rounds: int, seconds: float) -> tuple[list[Figure], dict[str, plot.Panel]]:
    """Measure the rows one by one; return the figures, also for the plot."""
    async with opened(BUILD, rounds, seconds, frozenset(row.name for row in rows)) as stage:
        figures = [figure for row in rows for figure in await measure(row, stage)]
    return figures, {title: found.rates() for title, found in stage.panels.items()}


def main() -> int:
    """Run the command line; return 0 if every row could be measured."""
    names = {row.name: row for row in ROWS} | {str(row.number): row for row in ROWS}
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"names or numbers: {', '.join(r.name for r in ROWS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each subject has its turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn (%(default)s)")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.rows if name not in names]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(row.name for row in ROWS)}")
    wanted = [row for row in ROWS if not chosen.rows or {row.name, str(row.number)} & set(chosen.rows)]
    print(machine.description(), flush=True)  # noqa: T201 - the command's output
    watch = machine.Watch()
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures, panels = runner.run(measure_all(wanted, chosen.rounds, chosen.seconds))
    print(f"the whole run: {watch}")  # noqa: T201 - the command's output
    data: dict[str, Any] = {"machine": machine.description(), "run": str(watch)}
    data |= {"figures": [report.facts(figure) for figure in figures], "panels": panels}
    (BUILD / "bench.json").write_text(json.dumps(data, indent=1) + "\n")
    plot.draw(panels, BUILD / "bench.png")
    return 0 if all(figure.rounds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
