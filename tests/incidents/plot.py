"""Plots of panels during incidents, from the file that `make incident` writes."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#7f7f7f")
_UNITS = {"ops": "per second", "reqps": "calls per second", "s": "seconds", "short": "", "percentunit": "share"}
_MOST_LINES = len(COLOURS)

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One graph: a panel of the dashboard during an incident."""

    incident: str
    panel: str


# One panel of each of six incidents, and four panels of one.
OVERVIEW = (
    Cell("rate-limit", "Failed calls by reason"),
    Cell("upstream-errors", "Upstream requests by reason"),
    Cell("key-revoked", "Failed inputs by reason"),
    Cell("overload", "Calls rejected by load shedding"),
    Cell("slow-callers", "Failed calls by reason"),
    Cell("hostile-requests", "Failed calls by reason"),
)
OUTAGE = (
    Cell("upstream-stopped", "Failed calls by party"),
    Cell("upstream-stopped", "Connection failures by cause"),
    Cell("upstream-stopped", "Suppressed retries by cause"),
    Cell("upstream-stopped", "Retry budget"),
)


def draw(record: Json, cells: Sequence[Cell], title: str, path: Path) -> None:
    """Write a figure with two graphs in a row.

    Args:
        record: the content of the file of `make incident`.
        cells: the graphs.
        title: of the figure.
        path: of the PNG file.

    Raises:
        KeyError: the file has no such incident.
    """
    mpl.use("Agg")
    incidents = {one["name"]: one for one in record["incidents"]}
    rows = -(-len(cells) // 2)
    figure = Figure(figsize=(10, 0.8 + 2.7 * rows), layout="constrained")
    figure.suptitle(title, fontsize=13)
    for axes, cell in zip(figure.subplots(rows, 2, squeeze=False).flat, cells, strict=False):
        _graph(axes, incidents[cell.incident], cell.panel, record["factor"])
    figure.savefig(path, dpi=100)


def _graph(axes: Axes, incident: Json, panel: str, factor: float) -> None:
    graph = next(one for one in incident["graphs"] if one["title"] == panel)
    minutes = factor / 60  # production minutes per second of the run
    for colour, (legend, points) in zip(COLOURS, _lines(graph), strict=False):
        label = legend if len(graph["lines"]) > 1 or ":" not in legend else "value"
        axes.plot([at * minutes for at, _ in points], [value for _, value in points], color=colour, label=label, lw=1.6)
    axes.axvspan(0, incident["removed"] * minutes, color="#000000", alpha=0.06, lw=0)
    axes.set_xlim(incident["start"] * minutes, incident["end"] * minutes)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.25)
    axes.set_title(f"{incident['name']}: {panel}", fontsize=11)
    axes.set_ylabel(_UNITS.get(graph["unit"], graph["unit"]))
    axes.set_xlabel("minutes after the fault began")
    axes.spines[["top", "right"]].set_visible(False)
    _mark(axes, incident["alerts"], minutes)
    axes.legend(fontsize=8, loc="upper left", frameon=False)


def _lines(graph: Json) -> list[tuple[str, Any]]:
    """Return the lines with the highest values."""
    lines = [(legend, points) for legend, points in graph["lines"].items() if points]
    lines.sort(key=lambda line: max(value for _, value in line[1]), reverse=True)
    return lines[:_MOST_LINES]


def _mark(axes: Axes, alerts: Sequence[Json], minutes: float) -> None:
    """Mark when each alert fires."""
    first: dict[str, float] = {}
    for alert in alerts:
        first.setdefault(alert["name"], alert["fired"])
    for index, (name, fired) in enumerate(first.items()):
        axes.axvline(fired * minutes, color="#d1495b", ls="--", lw=1)
        axes.annotate(
            f"{name.removeprefix('Embedwire')} fires",
            (fired * minutes, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -10 - 11 * index),
            textcoords="offset points",
            fontsize=8,
            color="#d1495b",
        )
