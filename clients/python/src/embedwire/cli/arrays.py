"""Collection of the segments of a call or a run, and their output as one array in a .npy file."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING

from rich.text import Text

from embedwire.cli.call import MAX_INPUTS
from embedwire.cli.given import InputArgument
from embedwire.cli.receiver import Outcome, Pending
from embedwire.cli.terminal import messages
from embedwire.results import Result, Segment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]


class SegmentCollector:
    """Event sink that collects the segments of each input that did not fail. All are held in memory.

    Attributes:
        names: display name of each input, by index.
        results: result of each input that has one, by index.
    """

    def __init__(self) -> None:
        self._segments: dict[int, list[Segment]] = {}
        self.names: dict[int, str] = {}
        self.results: dict[int, Result] = {}

    def segment(self, segment: Segment, _: InputArgument) -> None:
        """Add a segment."""
        self._segments.setdefault(segment.input_index, []).append(segment)

    def result(self, result: Result, pending: Pending) -> None:
        """Add a result; discard the segments if it is a failure."""
        self.names[result.input_index] = pending.given.name
        self.results[result.input_index] = result
        if result.failure is not None:
            self._segments.pop(result.input_index, None)

    def end(self, outcome: Outcome) -> None:
        """Discard the segments of inputs without a result."""
        for index, pending in outcome.pending.items():
            self.names[index] = pending.given.name
            self._segments.pop(index, None)

    def non_empty(self) -> list[tuple[int, Sequence[Segment]]]:
        """Return index and segments of each input that has segments, in order."""
        return sorted(self._segments.items())


def matrix(segments: Sequence[Segment]) -> "Matrix":
    """Stack the vectors: float32, of shape (segments, dimensions)."""
    import numpy as np  # noqa: PLC0415 - slow to import, and rarely needed

    return np.stack([np.asarray(segment.vector, dtype=np.float32) for segment in segments])


def write(collector: SegmentCollector, file: IO[bytes]) -> None:
    """Write the array to the file, unless it is empty, and the rows of each input to stderr."""
    embedded = collector.non_empty()
    for line in _legend(collector.names, {index: len(group) for index, group in embedded}):
        messages().print(Text(line))
    segments = [segment for _, group in embedded for segment in group]
    if segments:
        _save(matrix(segments), file)


def _legend(names: Mapping[int, str], counts: Mapping[int, int]) -> Iterator[str]:
    """Yield the rows of each input; in a large run one line for neighbours that have one row each."""
    first, is_large = 0, len(names) > MAX_INPUTS
    for is_single, group in itertools.groupby(sorted(names), lambda index: is_large and counts.get(index) == 1):
        indices = list(group)
        if is_single and len(indices) > 1:
            yield f"inputs {indices[0]}-{indices[-1]}: rows {first}-{first + len(indices) - 1}"
            first += len(indices)
            continue
        for index in indices:
            count = counts.get(index, 0)
            yield f"input {index}, {names[index]}: {_rows(first, count)}"
            first += count
    if not first:
        yield "nothing to write"


def _rows(first: int, count: int) -> str:
    if not count:
        return "no rows, it failed"
    return f"row {first}" if count == 1 else f"rows {first}-{first + count - 1}"


def _save(array: "Matrix", file: IO[bytes]) -> None:
    import numpy as np  # noqa: PLC0415 - as above

    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)  # np.save cannot write to a pipe
    file.flush()
