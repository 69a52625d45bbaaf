"""Collection of the segments of a call, and their output as one array in a .npy file."""

from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from rich.text import Text

from embedwire.cli.call import Outcome
from embedwire.cli.terminal import messages
from embedwire.results import Result, Segment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]


class SegmentCollector:
    """Event sink that collects the segments of each input that did not fail.

    Args:
        inputs: number of inputs.
    """

    def __init__(self, inputs: int) -> None:
        self._segments: list[list[Segment]] = [[] for _ in range(inputs)]
        self.results: list[Result | None] = [None] * inputs

    def segment(self, segment: Segment) -> None:
        """Add a segment."""
        self._segments[segment.input_index].append(segment)

    def result(self, result: Result, _: Outcome) -> None:
        """Add a result; discard the segments if it is a failure."""
        self.results[result.input_index] = result
        if result.failure is not None:
            self._segments[result.input_index].clear()

    def end(self, outcome: Outcome) -> None:
        """Discard the segments of inputs without a result."""
        for index in outcome.unanswered:
            self._segments[index].clear()

    def non_empty(self) -> list[tuple[int, Sequence[Segment]]]:
        """Return index and segments of each input that has segments, in order."""
        return [(index, segments) for index, segments in enumerate(self._segments) if segments]


def matrix(segments: Sequence[Segment]) -> "Matrix":
    """Stack the vectors: float32, of shape (segments, dimensions)."""
    import numpy as np  # noqa: PLC0415 - slow to import, and rarely needed

    return np.stack([np.asarray(segment.vector, dtype=np.float32) for segment in segments])


def write(collector: SegmentCollector, outcome: Outcome, file: IO[bytes]) -> None:
    """Write the array to the file, unless it is empty, and the rows of each input to stderr."""
    for line in _legend(collector, outcome.names):
        messages().print(Text(line))
    segments = [segment for _, group in collector.non_empty() for segment in group]
    if segments:
        _save(matrix(segments), file)


def _legend(collector: SegmentCollector, names: Sequence[str]) -> Iterator[str]:
    found, first = dict(collector.non_empty()), 0
    for index, name in enumerate(names):
        count = len(found.get(index, ()))
        rows = (
            "no rows, it failed" if not count else f"row {first}" if count == 1 else f"rows {first}-{first + count - 1}"
        )
        yield f"input {index}, {name}: {rows}"
        first += count
    if not first:
        yield "nothing to write"


def _save(array: "Matrix", file: IO[bytes]) -> None:
    import numpy as np  # noqa: PLC0415 - as above

    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)  # np.save cannot write to a pipe
    file.flush()
