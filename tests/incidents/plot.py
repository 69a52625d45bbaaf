"""Plots of panels during incidents, from the file that `make incident` writes."""

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from PIL import Image

COLOURS = ("#1f6f8b", "#edae49", "#66a182", "#8d6a9f", "#7f7f7f", "#d1495b")
_UNITS = {"ops": "per second", "reqps": "per second", "s": "seconds", "short": "", "percentunit": "share"}
_MOST_LINES = len(COLOURS)
_ALERT = "#b3261e"
_IMAGE_COLOURS = 64
_HEADROOM = 1.35  # above the highest value, for the legend
_ADDRESS = re.compile(r"[\d.]+:\d+")

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One graph: a panel of the dashboard during an incident, and its title."""

    incident: str
    panel: str
    title: str


# One panel of each of six incidents, and four panels of one.
OVERVIEW = (
    Cell("rate-limit", "Back-offs and rejections by rate limits", "Rate limit of the upstream"),
    Cell("upstream-errors", "Upstream requests by reason", "Errors of the upstream: its answers"),
    Cell("key-revoked", "Failed inputs by reason", "Revoked API key: failed inputs"),
    Cell("overload", "Calls rejected by load shedding", "Overload: rejected calls by exhausted resource"),
    Cell("slow-callers", "Failed calls by reason", "Stalled uploads: failed calls"),
    Cell("hostile-requests", "Failed calls by reason", "Hostile requests: failed calls"),
)
OUTAGE = tuple(
    Cell("upstream-stopped", panel, panel)
    for panel in (
        "Failed calls by party",
        "Connection failures by cause",
        "Suppressed retries by cause",
        "Retry budget",
    )
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
    figure = Figure(figsize=(10, 0.6 + 3.1 * rows), layout="constrained")
    figure.suptitle(title, fontsize=14)
    for axes, cell in zip(figure.subplots(rows, 2, squeeze=False).flat, cells, strict=False):
        _graph(axes, incidents[cell.incident], cell, record["factor"])
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG file with few colours, which is a third as large."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    image = Image.open(drawn).convert("RGB")
    image.quantize(_IMAGE_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _graph(axes: Axes, incident: Json, cell: Cell, factor: float) -> None:
    graph = next(one for one in incident["graphs"] if one["title"] == cell.panel)
    minutes = factor / 60  # of production, for each second of the run
    lines = _lines(graph)
    for colour, (legend, points) in zip(COLOURS, lines, strict=False):
        label = "one process" if _ADDRESS.fullmatch(legend) else legend
        axes.plot([at * minutes for at, _ in points], [value for _, value in points], color=colour, label=label, lw=1.8)
    axes.axvspan(0, incident["removed"] * minutes, color="#000000", alpha=0.06, lw=0)
    axes.set_xlim(incident["start"] * minutes, incident["end"] * minutes)
    axes.set_ylim(0, _HEADROOM * max([value for _, points in lines for _, value in points], default=1.0))
    axes.set_ylabel(_UNITS.get(graph["unit"], graph["unit"]))
    axes.set_xlabel("minutes after the beginning of the fault (grey)")
    axes.xaxis.set_major_locator(MultipleLocator(5))
    axes.spines[["top", "right"]].set_visible(False)
    names = [_mark(axes, alert, minutes) for alert in _first(incident["alerts"])]
    axes.set_title("\n".join(names), fontsize=9, color=_ALERT, loc="left")
    axes.annotate(cell.title, (0, 1), (0, 8 + 13 * len(names)), "axes fraction", "offset points", fontsize=12)
    axes.legend(fontsize=9, loc="upper right", framealpha=0.8, ncols=2)


def _lines(graph: Json) -> list[tuple[str, Any]]:
    """Return the lines with the highest values, without those that are always 0."""
    lines = [(legend, points) for legend, points in graph["lines"].items() if any(value for _, value in points)]
    lines.sort(key=lambda line: max(value for _, value in line[1]), reverse=True)
    return lines[:_MOST_LINES]


def _first(alerts: Sequence[Json]) -> list[Json]:
    """Return the first alert of each name."""
    found: dict[str, Json] = {}
    for alert in alerts:
        found.setdefault(alert["name"], alert)
    return list(found.values())


def _mark(axes: Axes, alert: Json, minutes: float) -> str:
    """Mark when an alert fires; return it in words."""
    at = alert["fired"] * minutes
    axes.axvline(at, color=_ALERT, ls="--", lw=1.2)
    return f"{alert['name']} fires after {at:.1f} min"
