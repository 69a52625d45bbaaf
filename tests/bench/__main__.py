"""Measures the rows and prints one line for each: `make bench`, or `make bench ROWS="text sdk"` for some of them."""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from bench import (
    audio,
    decoding,
    latency,
    machine,
    memory,
    peers,
    plot,
    reading,
    report,
    start,
    texts,
    workers,
)
from bench.processes import OTHER_CORE
from bench.rows import ALL, Figure, Measured, Row
from bench.stage import Stage
from bench.upstream import upstream

MODULES = (texts, latency, peers, workers, decoding, audio, memory, reading, start)  # which add their rows
BUILD = Path("build")


async def measure(row: Row, stage: Stage) -> list[Figure]:
    """Measure one row and print it; one that cannot be measured is no reason to leave out the others."""
    began = time.monotonic()
    try:
        measured = await row.play(stage)
    except Exception as error:  # noqa: BLE001 - the other rows are still to be seen
        measured = Measured((), [repr(error)])
    print(report.lines(row, measured, time.monotonic() - began), flush=True)  # noqa: T201 - what the command is for
    return row.figures(measured)


async def measure_all(rows: list[Row], rounds: int, seconds: float) -> list[Figure]:
    """Measure them one after the other, and draw the picture."""
    directory = BUILD / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    async with upstream(directory) as running:
        stage = Stage(directory, BUILD / "peers", running, rounds, seconds, frozenset(row.name for row in rows))
        figures = [figure for row in rows for figure in await measure(row, stage)]
    plot.draw(stage.panels, BUILD / "bench.png")
    return figures


def main() -> int:
    """Run the command line; 0 if every row could be measured."""
    rows = sorted(ALL.values(), key=lambda row: row.number)
    names = {row.name: row for row in rows} | {str(row.number): row for row in rows}
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"names or numbers: {', '.join(r.name for r in rows)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each subject has its turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn (%(default)s)")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.rows if name not in names]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(row.name for row in rows)}")
    wanted = [row for row in rows if not chosen.rows or {row.name, str(row.number)} & set(chosen.rows)]
    print(machine.description(), flush=True)  # noqa: T201 - what the command is for
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure_all(wanted, chosen.rounds, chosen.seconds))
    (BUILD / "bench.json").write_text(json.dumps([report.facts(figure) for figure in figures], indent=1) + "\n")
    return 0 if all(figure.rounds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
