"""How figures are told: lines for people, facts for programs."""

from typing import Any

from bench.rows import Figure, Measured, Row


def lines(row: Row, measured: Measured, seconds: float) -> str:
    """One line a figure, and the notes below."""
    text = [_line(row.number, figure) for figure in row.figures(measured)]
    text += [f"{'':19}{note}" for note in measured.notes]
    return "\n".join([*text, f"{'':19}measured in {seconds:.0f} s"])


def facts(figure: Figure) -> dict[str, Any]:
    """One figure for the file."""
    bound = figure.bound
    value = None if figure.value is None else round(figure.value, 4)
    return {"name": bound.name, "value": value, "target": bound.target, "goal": bound.goal, "ok": figure.ok}


def _line(number: int, figure: Figure) -> str:
    bound, sign = figure.bound, "≤" if figure.bound.at_most else "≥"
    bounds = f"target {sign} {bound.target:g}, goal {bound.goal:g}"
    if figure.value is None:
        return f"{'not measured':13} {number:3}  {bound.name:41} {'':>7}  {bounds}"
    spread = f"rounds {_number(min(figure.rounds))} to {_number(max(figure.rounds))}"
    verdict = "ok" if figure.ok else "short"
    return f"{verdict:13} {number:3}  {bound.name:41} {_number(figure.value):>7}  {bounds:26} {spread}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
