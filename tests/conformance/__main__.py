"""Run the cases against the clients: `.venv/bin/python -m tests.conformance`."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.cases import Case, cases
from tests.conformance.languages import LANGUAGES
from tests.conformance.report import Column, table
from tests.conformance.runners import Runner, RunnerError
from tests.conformance.running import faults
from tests.conformance.stage import Stage


def main() -> int:
    """Run the requested cases; return 1 if anything differs or is missing."""
    chosen = _arguments()
    wanted = [case for case in cases() if not chosen.only or case.name in chosen.only]
    if unknown := set(chosen.only or ()) - {case.name for case in wanted}:
        sys.stderr.write(f"no such case: {', '.join(sorted(unknown))}\n")
        return 2
    columns = asyncio.run(_columns(chosen.language or list(LANGUAGES), wanted))
    sys.stdout.write(table([case.name for case in wanted], columns) + "\n")
    return 0 if all(column.is_ok for column in columns) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="One suite for every client.")
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, metavar="NAME", help=", ".join(LANGUAGES))
    parser.add_argument("--only", nargs="+", metavar="CASE", help="names of cases; all, if left out")
    return parser.parse_args()


async def _columns(languages: Sequence[str], wanted: Sequence[Case]) -> list[Column]:
    async with contextlib.AsyncExitStack() as stack:
        stage = Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-"))), stack)
        return [await _column(language, wanted, stage) for language in languages]


async def _column(language: str, wanted: Sequence[Case], stage: Stage) -> Column:
    column = Column(language)
    began = time.monotonic()
    try:
        async with Runner.running(LANGUAGES[language]) as runner:
            for case in wanted:
                column.faults[case.name] = await faults(case, stage, runner)
                if sys.stderr.isatty():
                    sys.stderr.write(".")
                    sys.stderr.flush()
    except RunnerError as error:
        column.missing = str(error)
    column.seconds = time.monotonic() - began
    return column


if __name__ == "__main__":
    sys.exit(main())
