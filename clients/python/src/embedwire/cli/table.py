"""Output of events as a table, row by row as they arrive, in columns of fixed width."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from embedwire.cli.call import Outcome
from embedwire.cli.terminal import Screen, printable
from embedwire.results import Result, Segment

_NARROW = 72
_WIDEST_NAME = 48
_VALUE = len("+0.0000 ")
_FIXED = (5, 3, 13, 13, 4)  # input, segment, seconds, option, dimensions
_NARROW_FIXED = (5, 3, 11, 9, 4)


class Columns:
    """Column widths: names and values share the width that the other columns leave.

    Args:
        width: total width.
        names: display name of each input.
    """

    def __init__(self, width: int, names: Sequence[str]) -> None:
        self.is_narrow = width < _NARROW
        self.gap, fewest_values = (1, 1) if self.is_narrow else (2, 2)
        fixed = _NARROW_FIXED if self.is_narrow else _FIXED
        remaining = width - sum(fixed) - self.gap * 6
        wanted = min(max(cell_len(name) for name in (*names, "name")), _WIDEST_NAME)
        name = max(min(wanted, remaining - fewest_values * _VALUE - 1), 4)
        self.values = max((remaining - name - 1) // _VALUE, 1)
        self.seconds = fixed[2]
        self.widths = [fixed[0], name, *fixed[1:], max(remaining - name, 1)]

    def row(self, cells: Sequence[str], style: str = "") -> Table:
        """Format one row; too long cells are truncated with an ellipsis."""
        grid = Table.grid(padding=(0, self.gap, 0, 0), pad_edge=False)
        for width, justify in zip(
            self.widths, ("right", "left", "right", "right", "left", "right", "left"), strict=True
        ):
            grid.add_column(width=width, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        grid.add_row(*(Text(cell) for cell in cells), style=style)
        return grid


class TableRows:
    """Event sink that prints one row per segment and one line per result.

    Args:
        screen: the console.
        names: display name of each input.
    """

    def __init__(self, screen: Screen, names: Sequence[str]) -> None:
        self._screen = screen
        self._names = names
        self._columns = Columns(screen.width, names)
        self._has_header = False

    def segment(self, segment: Segment) -> None:
        """Print a segment."""
        if not self._has_header:
            self._has_header = True
            header = (
                "input",
                "name",
                "seg",
                "seconds",
                "option",
                "dims",
                "values" if self._columns.is_narrow else "first values",
            )
            self._screen.print(self._columns.row(header, "bold"))
        self._screen.print(self._columns.row(self._cells(segment)))

    def result(self, result: Result, outcome: Outcome) -> None:
        """Print a result: done, or failed with its segments invalid."""
        index, failure = result.input_index, result.failure
        if failure is None:
            self._line(str(index), ("done", "green"), f": {self._names[index]}, {_summary(result)}")
        else:
            void = _void(outcome.segments[index])
            self._line(str(index), ("failed", "red"), f": {self._names[index]}: {failure}{void}")

    def end(self, outcome: Outcome) -> None:
        """Print the inputs without a result."""
        unanswered = outcome.unanswered
        if unanswered == [0] and len(self._names) == 1 and outcome.error is not None:
            self._line(
                "0", ("failed", "red"), f": {self._names[0]}: {outcome.error.failure}{_void(outcome.segments[0])}"
            )
        elif unanswered:
            is_all = len(unanswered) == len(self._names)
            which = f"all {len(unanswered)} inputs" if is_all else f"input {', '.join(map(str, unanswered))}"
            void = _void(sum(outcome.segments[index] for index in unanswered))
            self._line("", ("unanswered", "red"), f": {which}{void}")

    def _line(self, index: str, word: tuple[str, str], rest: str) -> None:
        text = Text.assemble(word, printable(rest))
        if not self._screen.is_terminal:
            self._screen.print(Text(f"{index:>5}" + " " * self._columns.gap) + text, soft_wrap=True)
            return
        grid = Table.grid(padding=(0, self._columns.gap, 0, 0), pad_edge=False)
        grid.add_column(width=5, justify="right", no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(index, text)
        self._screen.print(grid)

    def _cells(self, segment: Segment) -> tuple[str, ...]:
        values = " ".join(f"{value:+.4f}" for value in segment.vector[: self._columns.values].tolist())
        return (
            str(segment.input_index),
            self._names[segment.input_index],
            str(segment.segment_index),
            _seconds(segment, self._columns.seconds),
            printable(segment.embedding_option),
            str(len(segment.vector)),
            f"{values} …",
        )


def _seconds(segment: Segment, width: int) -> str:
    if segment.start_offset_sec is None:
        return ""
    end = "" if segment.end_offset_sec is None else f"{segment.end_offset_sec:.1f}"
    exact = f"{segment.start_offset_sec:.1f} - {end}"
    return exact if len(exact) <= width else f"{segment.start_offset_sec:.0f}-{end.partition('.')[0]}"


def _summary(result: Result) -> str:
    segments = "1 segment" if result.segment_count == 1 else f"{result.segment_count} segments"
    duration = "" if result.media_duration_sec is None else f", {result.media_duration_sec:.1f} s long"
    cut = ", cut to what the model reads" if result.truncated else ""
    return f"{segments}{duration}{cut} from {result.upstream}"


def _void(segments: int) -> str:
    if not segments:
        return ""
    return " (its segment above is void)" if segments == 1 else " (its segments above are void)"
