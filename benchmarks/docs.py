"""Writes the figures of a complete run into docs/benchmarks.md, and draws the plot: `make bench-docs`."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks.__main__ import BOUNDS
from benchmarks.report import digits
from benchmarks.rows import Bound

DATA, PAGE, PICTURE = Path("build/bench.json"), Path("docs/benchmarks.md"), Path("docs/bench.png")
_HEAD = "| measurement | result | better |\n|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|.*\n)+")


def table(bounds: Sequence[Bound], figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the table with the measured figures.

    Raises:
        ValueError: a figure is missing; figures of different runs are not combined.
    """
    measured = {figure["name"]: figure for figure in figures if figure["value"] is not None}
    if missing := [bound.name for bound in bounds if bound.name not in measured]:
        raise ValueError(f"not measured: {', '.join(missing)}; run make bench without ROWS first")
    return _HEAD + "".join(_line(bound, measured[bound.name]) for bound in bounds)


def _line(bound: Bound, figure: Mapping[str, Any]) -> str:
    return f"| {bound.name} | {digits(figure['value'])} | {'lower' if bound.at_most else 'higher'} |\n"


def replaced(text: str, new: str) -> str:
    """Return a document with another table."""
    changed, count = _TABLE.subn(lambda _: new, text)
    if count != 1:
        raise ValueError(f"{count} tables of the benchmark in it instead of 1")
    return changed


def main() -> int:
    """Change both files, or neither."""
    data = json.loads(DATA.read_text())
    try:
        changed = replaced(PAGE.read_text(), table(BOUNDS, data["figures"]))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    plot.draw(data["panels"], PICTURE)
    PAGE.write_text(changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
