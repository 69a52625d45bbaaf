"""The plot: calls per second of the gateway, its lower bound and its peers."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.rounds import GATEWAY

OURS, OTHERS = "#1f6f8b", "#b8c4c9"
MIN_WITHOUT_DECIMALS = 100  # rates below it have three digits, so that a reader can compute the ratio from the bars

Panel = Mapping[str, Sequence[float]]  # the rates of each subject by round


def draw(panels: Mapping[str, Panel], path: Path) -> None:
    """Write the plot into a file, if there are data."""
    mpl.use("Agg")
    if panels:
        picture(panels).savefig(path, dpi=150)


def picture(panels: Mapping[str, Panel]) -> Figure:
    """Return a panel for each load with a bar for each subject: its rate, and the ratio of the gateway's bar to it."""
    figure = Figure(figsize=(4.6 * len(panels), 4.6), layout="constrained")
    figure.suptitle("Text calls a second, one process on one core, a reply of 1024 floats")
    for axes, (title, rates) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _panel(axes, title, {name: statistics.median(rounds) for name, rounds in rates.items()})
    return figure


def _panel(axes: Axes, title: str, heights: Mapping[str, float]) -> None:
    names = sorted(heights, key=lambda name: heights[name], reverse=True)
    bars = axes.bar(names, [heights[name] for name in names], color=[_colour(name) for name in names])
    axes.bar_label(bars, [label(name, heights) for name in names], padding=3, fontsize=9)
    axes.set_title(title)
    axes.set_ylabel("calls/s")
    axes.tick_params(axis="x", labelsize=9)
    axes.margins(y=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    return OURS if name == GATEWAY else OTHERS


def label(name: str, heights: Mapping[str, float]) -> str:
    """Return the label of a bar: its height, and the gateway's height as a multiple of it."""
    height = heights[name]
    rate = f"{height:,.0f}/s" if height >= MIN_WITHOUT_DECIMALS else f"{height:.3g}/s"
    if name == GATEWAY:
        return rate
    return f"{rate}\ngateway: {heights[GATEWAY] / height:.3g}x"
