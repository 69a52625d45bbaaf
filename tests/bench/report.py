"""How figures are told: lines for people, facts for programs."""

from collections.abc import Sequence
from typing import Any

from bench.rows import Figure, Row


def lines(row: Row, figures: Sequence[Figure], seconds: float) -> str:
    """One line a figure, and its notes below."""
    text = [_line(row.number, figure) for figure in figures]
    notes = dict.fromkeys(note for figure in figures for note in figure.notes)
    text += [f"{'':18}{note}" for note in notes]
    return "\n".join([*text, f"{'':18}measured in {seconds:.0f} s"])


def facts(figure: Figure) -> dict[str, Any]:
    """One figure for the file."""
    return {
        "name": figure.name,
        "value": figure.value,
        "target": figure.target,
        "goal": figure.goal,
        "ok": figure.ok,
    }


def _line(number: int, figure: Figure) -> str:
    sign = "≤" if figure.at_most else "≥"
    value = "" if figure.value is None else _number(figure.value)
    spread = "" if figure.spread is None else f"  rounds {_number(figure.spread[0])}..{_number(figure.spread[1])}"
    bounds = f"target {sign} {figure.target:g}  goal {figure.goal:g}"
    return f"{figure.verdict:12} {number:3}  {figure.name:40} {value:>8}  {bounds:28}{spread}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits either way
