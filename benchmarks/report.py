"""Formats of figures: text for people, facts for programs."""

from typing import Any

from benchmarks.rows import Figure, Measured, Row


def lines(row: Row, measured: Measured, circumstances: str) -> str:
    """Return one line per figure, followed by the notes and the circumstances of the measurement."""
    text = [_line(row.number, figure) for figure in row.figures(measured)]
    return "\n".join([*text, *(f"{'':19}{note}" for note in (*measured.notes, circumstances))])


def facts(figure: Figure) -> dict[str, Any]:
    """Return one figure for the file."""
    bound = figure.bound
    bounds = {"target": bound.target, "goal": bound.goal}
    return {"name": bound.name, "value": figure.value, "rounds": list(figure.rounds), **bounds, "ok": figure.ok}


def _line(number: int, figure: Figure) -> str:
    bound, sign = figure.bound, "≤" if figure.bound.at_most else "≥"
    bounds = f"target {sign} {bound.target:g}, goal {bound.goal:g}"
    if figure.value is None:
        return f"{'not measured':13} {number:3}  {bound.name:41} {'':>7}  {bounds}"
    spread = f"rounds {digits(min(figure.rounds))} to {digits(max(figure.rounds))}"
    verdict = "ok" if figure.ok else "short"
    return f"{verdict:13} {number:3}  {bound.name:41} {digits(figure.value):>7}  {bounds:26} {spread}"


def digits(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
