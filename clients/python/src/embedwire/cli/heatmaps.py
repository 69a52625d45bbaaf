"""Heat maps of cosine similarity, by matplotlib without a display."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedwire.results import Segment

if TYPE_CHECKING:
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

_COLOURS = "viridis"
_MOST_VALUES = 12
_MOST_LABELS = 100
_MOST_READABLE = 24
_LABEL_LENGTH = 28
_DARK_BELOW = 0.6  # on the colour scale; black text is not readable there

Window = tuple[float, float]


def windows(segments: Sequence[Segment], duration: float | None) -> list[Window]:
    """Return start and end of each segment in seconds.

    If the upstream reports no end, a segment ends where the next one starts, and the last one with the file. If the
    duration is unknown, the last one is as long as the one before it, or 1 s if it is the only one.
    """
    starts = [segment.start_offset_sec or 0.0 for segment in segments]
    lengths = [after - start for start, after in itertools.pairwise(starts)]
    last = duration if duration is not None and duration > starts[-1] else starts[-1] + (lengths or [1.0])[-1]
    ends = [*starts[1:], last]
    reported = [segment.end_offset_sec for segment in segments]
    return [(start, end if known is None else known) for start, end, known in zip(starts, ends, reported, strict=True)]


def means(matrices: Sequence["Matrix"]) -> "Matrix":
    """Return one vector for each matrix: the mean of its rows, each normalised to unit length."""
    return np.stack([_normalize(rows).mean(axis=0) for rows in matrices])


def over_time(vectors: "Matrix", spans: Sequence[Window], title: str) -> Figure:
    """Draw the similarity of all pairs of windows, on time axes. Gaps stay empty."""
    edges = sorted({edge for span in spans for edge in span})
    window_indices = [_window_index(spans, start, end) for start, end in itertools.pairwise(edges)]
    similar = _cosine(vectors)
    cells = np.ma.masked_invalid(
        np.pad(similar, (0, 1), constant_values=np.nan)[np.ix_(window_indices, window_indices)]
    )
    figure, axes = _canvas(7.2, 6.2)
    mesh = axes.pcolormesh(edges, edges, cells, cmap=_COLOURS, vmin=_scale_minimum(similar), vmax=1)
    axes.set(xlabel="seconds", ylabel="seconds", aspect="equal", facecolor="0.9")
    _finish(figure, axes, mesh, title)
    if len(spans) <= _MOST_VALUES:
        axes.set_xticks(edges)
        axes.set_yticks(edges)
        _values(axes, similar, [(start + end) / 2 for start, end in spans])
    return figure


def of_inputs(vectors: "Matrix", names: Sequence[str], title: str, note: str) -> Figure:
    """Draw the similarity of all pairs of inputs, with their names on both axes."""
    similar, count = _cosine(vectors), len(names)
    side = min(max(0.62 * count, 3.4), 11.0)
    figure, axes = _canvas(side + 3.6, side + 2.2)
    mesh = axes.imshow(similar, cmap=_COLOURS, vmin=_scale_minimum(similar), vmax=1)
    ticks = range(0, count, -(-count // _MOST_LABELS))
    labels = [f"{index}  {_shorten(names[index])}" for index in ticks]
    size = "medium" if count <= _MOST_READABLE else "x-small"
    # A name with dollar signs is not a formula.
    axes.set_xticks(ticks, labels, rotation=40, ha="right", rotation_mode="anchor", parse_math=False, size=size)
    axes.set_yticks(ticks, labels, parse_math=False, size=size)
    axes.tick_params(length=0)
    _finish(figure, axes, mesh, title)
    if note:
        figure.supxlabel(note, fontsize="small", color="0.35")
    if count <= _MOST_VALUES:
        _values(axes, similar, range(count))
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, mesh: Any, title: str) -> None:  # noqa: ANN401 - QuadMesh or AxesImage
    axes.set_title(title, fontsize="medium", parse_math=False)
    figure.colorbar(mesh, ax=axes, label="cosine similarity", shrink=0.8)


def _values(axes: Axes, similar: "Matrix", positions: Sequence[float]) -> None:
    """Write each value into its cell, in black or white by the brightness of the cell."""
    low = _scale_minimum(similar)
    for (row, y), (column, x) in itertools.product(enumerate(positions), repeat=2):
        value = similar[row, column]
        is_dark = (value - low) / (1 - low or 1) < _DARK_BELOW
        colour = "white" if is_dark else "black"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color=colour, fontsize="small")


def _window_index(spans: Sequence[Window], start: float, end: float) -> int:
    """Return the index of the last window that covers this interval; -1 for none."""
    return max((index for index, span in enumerate(spans) if span[0] <= start and end <= span[1]), default=-1)


def _cosine(vectors: "Matrix") -> "Matrix":
    unit = _normalize(vectors)
    similar: Matrix = np.clip(unit @ unit.T, -1, 1)
    return similar


def _normalize(vectors: "Matrix") -> "Matrix":
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths != 0)
    return unit


def _scale_minimum(similar: "Matrix") -> float:
    """Return the lower end of the colour scale: the smallest value, rounded down to a tenth, at most 0.9."""
    return min(float(np.floor(similar.min() * 10)) / 10, 0.9)


def _shorten(name: str) -> str:
    return name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1] + "…"
