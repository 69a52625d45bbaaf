"""The picture: calls a second of the gateway beside its floor and its peers."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.rounds import GATEWAY, Comparison

OURS, OTHERS = "#1f6f8b", "#b8c4c9"


def draw(panels: Mapping[str, Comparison], path: Path) -> None:
    """Draw a panel for each load: a bar for each subject, with its rate and the gateway's as a multiple of it."""
    mpl.use("Agg")
    if not panels:
        return
    figure = Figure(figsize=(4.6 * len(panels), 4.6), layout="constrained")
    figure.suptitle("Text calls a second, one process on one core, a reply of 1024 floats")
    for axes, (title, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _panel(axes, title, found)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, title: str, found: Comparison) -> None:
    names = sorted(found.samples, key=found.rate, reverse=True)
    bars = axes.bar(names, [found.rate(name) for name in names], color=[_colour(name) for name in names])
    axes.bar_label(bars, [_label(name, found) for name in names], padding=3, fontsize=9)
    axes.set_title(title)
    axes.set_ylabel("calls/s")
    axes.tick_params(axis="x", labelsize=9)
    axes.margins(y=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    return OURS if name == GATEWAY else OTHERS


def _label(name: str, found: Comparison) -> str:
    rate = f"{found.rate(name):,.0f}/s"
    if name == GATEWAY:
        return rate
    return f"{rate}\ngateway: {statistics.median(found.ratios(GATEWAY, name)):.2g}x"
