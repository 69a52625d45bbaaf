"""The picture: calls a second of the gateway beside its floor and its peers."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GATEWAY = "gateway"
OURS, OTHERS = "#1f6f8b", "#b8c4c9"


def draw(panels: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw a panel for each load: a bar for each subject, with its rate and its ratio to the gateway's."""
    mpl.use("Agg")
    shown = {title: rates for title, rates in panels.items() if GATEWAY in rates}
    if not shown:
        return
    figure = Figure(figsize=(4.6 * len(shown), 4.6), layout="constrained")
    figure.suptitle("Text calls a second, one process on one core, a reply of 1024 floats")
    for axes, (title, rates) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        _panel(axes, title, dict(sorted(rates.items(), key=lambda pair: -pair[1])))
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, title: str, rates: Mapping[str, float]) -> None:
    colours = [OURS if name == GATEWAY else OTHERS for name in rates]
    bars = axes.bar(list(rates), list(rates.values()), color=colours)
    labels = [_label(name, rate, rates[GATEWAY]) for name, rate in rates.items()]
    axes.bar_label(bars, labels, padding=3, fontsize=9)
    axes.set_title(title)
    axes.set_ylabel("calls/s")
    axes.tick_params(axis="x", labelsize=9)
    axes.margins(y=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _label(name: str, rate: float, gateway: float) -> str:
    if name == GATEWAY:
        return f"{rate:,.0f}/s"
    ratio = f"gateway x{gateway / rate:.1f}" if gateway >= rate else f"gateway x{gateway / rate:.2f}"
    return f"{rate:,.0f}/s\n{ratio}"
