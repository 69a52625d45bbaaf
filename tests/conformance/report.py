"""The report: cases by languages."""

import dataclasses
from collections.abc import Sequence

_LONGEST = 240


@dataclasses.dataclass
class Column:
    """The results of one language.

    Attributes:
        faults: of each case that was run, everything that differs.
        missing: why the runner could not be started; "" if it could.
    """

    language: str
    faults: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    missing: str = ""
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        return not self.missing and not any(self.faults.values())

    def cell(self, case: str) -> str:
        """Return the word for one case."""
        if case not in self.faults:
            return "not run"
        return "differs" if self.faults[case] else "ok"


def table(names: Sequence[str], columns: Sequence[Column]) -> str:
    """Return a line for each case, differences first below it, and totals."""
    widest = max(map(len, ["case", *names]))
    lines = [_line("case", [column.language for column in columns], widest, columns)]
    for name in names:
        lines.append(_line(name, [column.cell(name) for column in columns], widest, columns))
        lines += [
            f"  {column.language}: {_short(column.faults[name])}" for column in columns if column.faults.get(name)
        ]
    lines.append("")
    for column in columns:
        right = sum(not found for found in column.faults.values())
        words = f"missing: {column.missing}" if column.missing else f"{right} of {len(names)} cases ok"
        lines.append(f"{column.language}: {words}, {column.seconds:.1f} s")
    return "\n".join(lines)


def _line(first: str, cells: Sequence[str], widest: int, columns: Sequence[Column]) -> str:
    widths = [max(len(column.language), len("not run")) for column in columns]
    return "  ".join(
        [f"{first:{widest}}", *(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))]
    ).rstrip()


def _short(found: list[str]) -> str:
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    first = found[0].replace("\n", " ")
    return (first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…") + more
