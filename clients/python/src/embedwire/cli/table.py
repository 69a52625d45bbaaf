"""Output of events as a table, row by row as they arrive, in columns of fixed width."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from embedwire.cli.given import InputArgument
from embedwire.cli.receiver import Outcome, Pending
from embedwire.cli.terminal import Screen, print_labelled, printable
from embedwire.results import Result, Segment

_NARROW = 72
WIDEST_NAME = 48
_VALUE = len("+0.0000 ")
_FIXED = (5, 3, 13, 13, 4)  # input, segment, seconds, option, dimensions
_NARROW_FIXED = (5, 3, 11, 9, 4)


class Columns:
    """Column widths: names and values share the width that the other columns leave.

    Args:
        width: total width.
        name_width: width of the longest name.
    """

    def __init__(self, width: int, name_width: int) -> None:
        self.is_narrow = width < _NARROW
        self.gap, fewest_values = (1, 1) if self.is_narrow else (2, 2)
        fixed = _NARROW_FIXED if self.is_narrow else _FIXED
        remaining = width - sum(fixed) - self.gap * 6
        wanted = min(max(name_width, len("name")), WIDEST_NAME)
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
        name_width: width of the longest name of an input.
    """

    def __init__(self, screen: Screen, name_width: int) -> None:
        self._screen = screen
        self._columns = Columns(screen.width, name_width)
        self._has_header = False

    def segment(self, segment: Segment, given: InputArgument) -> None:
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
        self._screen.print(self._columns.row(self._cells(segment, given.name)))

    def result(self, result: Result, pending: Pending) -> None:
        """Print a result: done, or failed with its segments invalid. The reason is printed to stderr only."""
        index, name = str(result.input_index), pending.given.name
        if result.failure is None:
            self._line(index, ("done", "green"), f": {name}, {_summary(result)}")
        else:
            self._line(index, ("failed", "red"), f": {name}{_invalid(pending.segments)}")

    def end(self, outcome: Outcome) -> None:
        """Print the inputs without a result."""
        pending = outcome.pending
        invalid = _invalid(sum(each.segments for each in pending.values()))
        if pending and outcome.inputs == 1:
            self._line("0", ("failed", "red"), f": {pending[0].given.name}{invalid}")
        elif pending:
            is_all = len(pending) == outcome.inputs
            which = f"all {len(pending)} inputs" if is_all else f"input {', '.join(map(str, pending))}"
            self._line("", ("unanswered", "red"), f": {which}{invalid}")

    def _line(self, index: str, word: tuple[str, str], rest: str) -> None:
        text = Text.assemble(word, printable(rest))
        print_labelled(self._screen, Text(f"{index:>5}"), text, self._columns.gap)

    def _cells(self, segment: Segment, name: str) -> tuple[str, ...]:
        values = " ".join(f"{value:+.4f}" for value in segment.vector[: self._columns.values].tolist())
        return (
            str(segment.input_index),
            name,
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


def _invalid(segments: int) -> str:
    if not segments:
        return ""
    return " (its segment above is invalid)" if segments == 1 else " (its segments above are invalid)"
