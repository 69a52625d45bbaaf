"""Counts the instructions of a call by callgrind: `make bench-instructions ROWS="text unary"`.

Unlike CPU time, the count does not depend on other load. Instructions of the kernel are not counted, and neither is
waiting for memory. The gateway runs some 50 times slower, so each row takes a minute or more for each commit.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from benchmarks import machine
from benchmarks.audio import long_replies
from benchmarks.builds import THIS, Build
from benchmarks.gateway import Start
from benchmarks.hits import cached_texts, cached_unary_texts
from benchmarks.processes import OTHER_CORE, Running
from benchmarks.stage import Stage, opened
from benchmarks.subjects import Embedding
from benchmarks.texts import texts, unary_texts
from benchmarks.uploads import uploads

BUILD = Path("build")
WARM_SHARE = 4
Opened = Callable[[Stage, Start], contextlib.AbstractAsyncContextManager[Embedding]]


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """A kind of call, the number of calls for one count, and the module of another composition root, or none."""

    subject: Opened
    calls: int
    app: str = ""


ROWS = {
    "text": Counted(texts, 512),
    "interface": Counted(texts, 512, "benchmarks.interface_app"),  # through httpx's transport interface
    "unary": Counted(unary_texts, 512),
    "hits": Counted(cached_texts, 512),
    "unary-hits": Counted(cached_unary_texts, 512),
    "segments": Counted(long_replies, 16),
    "uploads": Counted(uploads, 64),
}


async def count(stage: Stage, row: Counted, build: Build) -> list[float]:
    """Return thousands of instructions per call, one number per round."""
    profile = stage.directory / "callgrind.out"
    tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={profile}"]
    async with row.subject(stage, Start(build, app=row.app, tool=tool)) as subject:
        assert subject.gateway is not None
        program = subject.gateway.program
        await _order(program, "instrumentation on")
        await subject.answered(max(row.calls // WARM_SHARE, subject.load.in_flight))
        counts = []
        for number in range(stage.rounds):
            await _order(program, "zero")
            await subject.answered(row.calls)
            await _order(program, f"dump {number}")
            counts.append(_newest(stage.directory) / row.calls / 1e3)
        return counts


async def _order(program: Running, words: str) -> None:
    """Send a command to callgrind; return when it is done."""
    command = ["vgdb", f"--pid={program.pid}", *words.split()]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)


def _newest(directory: Path) -> int:
    """Return the instructions in the latest profile and remove it."""
    profiles = sorted(directory.glob("callgrind.out.*"), key=lambda path: path.stat().st_mtime_ns)
    found = re.search(r"^(?:totals|summary): (\d+)", profiles[-1].read_text(), re.MULTILINE)
    for profile in profiles:
        profile.unlink()
    if found is None:
        raise RuntimeError("callgrind has written no total")
    return int(found[1])


async def count_all(names: Sequence[str], builds: Sequence[Build], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Count all rows for all builds, one by one."""
    found: dict[str, dict[str, list[float]]] = {}
    async with opened(BUILD, rounds, 0.0, frozenset(names)) as stage:
        for name in names:
            watch = machine.Watch()
            found[name] = {build.name: await count(stage, ROWS[name], build) for build in builds}
            print(f"{_line(name, found[name])}\n{'':13} {watch}", flush=True)  # noqa: T201 - the command's output
    return found


def _line(name: str, counts: dict[str, list[float]]) -> str:
    medians = [statistics.median(numbers) for numbers in counts.values()]
    figures = [
        f"{build} {statistics.median(numbers):,.0f} ({min(numbers):,.0f} to {max(numbers):,.0f})"
        for build, numbers in counts.items()
    ]
    ratio = [f"this ÷ other {medians[0] / medians[1]:.3f}"] if len(medians) > 1 else []
    return f"{name:13} thousand instructions for each call: {', '.join([*figures, *ratio])}"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="bench.instructions", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; unset: all")
    parser.add_argument("--against", type=Path, help="the virtual environment of another commit's gateway")
    parser.add_argument("--rounds", type=int, default=3, help="how often calls are counted (%(default)s)")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.rows if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    builds = [THIS, *([Build.of_commit(chosen.against)] if chosen.against else [])]
    print(machine.description(), flush=True)  # noqa: T201 - the command's output
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(count_all(chosen.rows or [*ROWS], builds, chosen.rounds))
    data = {"machine": machine.description(), "thousand_instructions": found}
    (BUILD / "instructions.json").write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
