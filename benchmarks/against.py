"""Compares the gateway of this tree with that of another commit: `make bench AGAINST=COMMIT ROWS="text late"`.

Both run at the same time and are measured alternately, in reverse order in every other round. They are restarted
after every two rounds. Each round gives one ratio, this ÷ the other commit. The report has the medians of both, the
median of the ratios, and their interquartile range. Everything except for the gateway is of this tree.
"""

import argparse
import asyncio
import dataclasses
import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import machine, pairs
from benchmarks.builds import THIS, Build
from benchmarks.gateway import Start
from benchmarks.pairs import Pair
from benchmarks.processes import OTHER_CORE
from benchmarks.report import digits
from benchmarks.rounds import ROUNDS_OF_A_PROCESS
from benchmarks.stage import Stage, opened
from benchmarks.start import settle

BUILD = Path("build")


@dataclasses.dataclass(frozen=True, slots=True)
class Paired:
    """One figure of both commits, round by round."""

    row: str
    figure: str
    this: Sequence[float]
    other: Sequence[float]

    def ratios(self) -> list[float]:
        """Return this ÷ the other, for each round."""
        return [one / other if other else math.inf for one, other in zip(self.this, self.other, strict=True)]

    def facts(self) -> dict[str, Any]:
        """Return the figure for the file."""
        return dataclasses.asdict(self) | {"ratio": statistics.median(self.ratios())}

    def line(self) -> str:
        """Return the figure as text."""
        ratios = self.ratios()
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        this, other = (digits(statistics.median(values)) for values in (self.this, self.other))
        ratio = f"{statistics.median(ratios):.3f}"
        return (
            f"{self.row:13} {self.figure:36} {this:>8} {other:>8} {ratio:>7}  {low:.3f} to {high:.3f} ({len(ratios)})"
        )


async def compare(stage: Stage, pair: Pair, other: Build) -> list[Paired]:
    """Measure both alternately."""
    taken: dict[Build, list[tuple[float, ...]]] = {THIS: [], other: []}
    rounds = min(stage.rounds, pair.most_rounds)
    for first in range(0, rounds, ROUNDS_OF_A_PROCESS):
        async with pair.open(stage, Start(THIS)) as ours, pair.open(stage, Start(other)) as theirs:
            for number in range(first, min(first + ROUNDS_OF_A_PROCESS, rounds)):
                order = [(THIS, ours), (other, theirs)]
                for build, measure in order if number % 2 == 0 else reversed(order):
                    taken[build].append(await measure())
    columns = zip(*(zip(*taken[build], strict=True) for build in (THIS, other)), strict=True)
    return [Paired(pair.name, name, *both) for name, both in zip(pair.figures, columns, strict=True)]


async def compare_all(names: Sequence[str], other: Build, rounds: int, seconds: float) -> list[Paired]:
    """Compare all rows one by one; a row that fails is reported and omitted."""
    found: list[Paired] = []
    async with opened(BUILD, rounds, seconds, frozenset(names)) as stage:
        for build in (THIS, other):
            await settle(stage, Start(build))
        for name in names:
            watch = machine.Watch()
            try:
                measured = await compare(stage, pairs.ALL[name], other)
            except Exception as error:  # noqa: BLE001 - the other rows still run
                print(f"{name:13} not measured: {error!r}", flush=True)  # noqa: T201 - the command's output
                continue
            for line in (*(paired.line() for paired in measured), f"{'':13} {watch}"):
                print(line, flush=True)  # noqa: T201 - the command's output
            found += measured
    return found


def main() -> int:
    """Run the command line; return 0 if every row could be measured."""
    parser = argparse.ArgumentParser(prog="bench.against", description=__doc__)
    parser.add_argument("directory", type=Path, help="the virtual environment of the other commit's gateway")
    known = ", ".join(pairs.ALL)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {known}, or all; unset: {', '.join(pairs.DEFAULT)}")
    parser.add_argument("--rounds", type=int, default=12, help="how often each commit has its turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn under load (%(default)s)")
    chosen = parser.parse_args()
    names = [*pairs.ALL] if chosen.rows == ["all"] else chosen.rows or [*pairs.DEFAULT]
    if unknown := [name for name in names if name not in pairs.ALL]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {known}")
    other = Build.of_commit(chosen.directory)
    print(machine.description())  # noqa: T201 - the command's output
    print(f"{'':50} {'this':>8} {other.name:>8} {'ratio':>7}  middle half (rounds)", flush=True)  # noqa: T201 - the same
    watch = machine.Watch()
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(compare_all(names, other, chosen.rounds, chosen.seconds))
    print(f"the whole run: {watch}")  # noqa: T201 - the command's output
    data = {"machine": machine.description(), "against": str(chosen.directory), "run": str(watch)}
    facts = {"figures": [paired.facts() for paired in found]}
    (BUILD / "against.json").write_text(json.dumps(data | facts, indent=1) + "\n")
    return 0 if {paired.row for paired in found} == set(names) else 1


if __name__ == "__main__":
    sys.exit(main())
