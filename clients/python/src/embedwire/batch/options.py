"""Options and result of a batch."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from embedwire import options as checks
from embedwire.batch.feed import Prepare
from embedwire.batch.parts import Format
from embedwire.batch.progress import Progress
from embedwire.errors import EmbedwireError, Failure
from embedwire.options import MapOptions

_OF_MAP = ("inputs_per_call", "concurrent_calls", "max_retries", "timeout", "dimensions", "include_uncertainty")
_AT_LEAST_ONE = ("max_attempts", "part_rows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Options of a batch.

    Attributes:
        inputs_per_call: maximum number of inputs of a call, 1 to 256.
        concurrent_calls: maximum number of concurrent calls, 1 to 1000.
        max_attempts: maximum number of temporary failures of one input. Failures in an outage do not count.
        outage_timeout: seconds after which the batch ends if inputs fail for temporary reasons and none is embedded.
        format: format of the part files, "parquet" or "npy".
        part_rows: rows of a part file; the rows of one input are in one part.
        retry_failed: whether inputs are sent again that have failed permanently in an earlier run.
        dimensions: as in `MapOptions`.
        include_uncertainty: as in `MapOptions`.
        max_retries: as in `MapOptions`.
        timeout: as in `MapOptions`.
        prepare: function that sets options of each input, for instance the segmentation of audio. It is not called for
            inputs with a task.
        settings: names and values of what `prepare` sets. A run with other values on the same output is an error.

    Raises:
        ValueError: an option is invalid; the message names it and its limits.
        TypeError: an option has the wrong type.
    """

    inputs_per_call: int = 32
    concurrent_calls: int = 8
    max_attempts: int = 5
    outage_timeout: float = 3600.0
    format: Format = "parquet"
    part_rows: int = 65_536
    retry_failed: bool = False
    dimensions: int | None = None
    include_uncertainty: bool = False
    max_retries: int | None = None
    timeout: float | None = None
    prepare: Prepare | None = None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.check(self.of_map, MapOptions)
        checks.check_timeout("outage_timeout", self.outage_timeout)
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.format not in {"parquet", "npy"}:
            raise ValueError(f"format: must be 'parquet' or 'npy', got {self.format!r}")

    @property
    def of_map(self) -> Any:  # noqa: ANN401 - a part of `MapOptions`
        """The options of `map`."""
        return {name: getattr(self, name) for name in _OF_MAP}

    @property
    def window(self) -> int:
        """Maximum number of inputs that are sent and have not ended."""
        return self.inputs_per_call * self.concurrent_calls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """Result of a run.

    Attributes:
        progress: the progress at its end.
        is_complete: whether every input of the source is embedded or in the failures.
        failures: number of failures in the output, by code and reason; without messages.
        ignored: `Source.ignored`.
        error: failure of all inputs that has ended the run, for instance invalid credentials or an outage; None if
            there is none.
        parts: number of part files of the output.
    """

    progress: Progress
    is_complete: bool
    failures: Counter[Failure]
    ignored: Counter[str]
    error: EmbedwireError | None
    parts: int

    @property
    def reasons(self) -> Counter[str]:
        """Number of failures in the output by reason."""
        found: Counter[str] = Counter()
        for failure, count in self.failures.items():
            found[failure.reason or failure.code] += count
        return found
