"""The sources of one batch, in the order of the command line."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from embedwire.batch.feed import Prepare
from embedwire.batch.records import InvalidRecord, Record, Source
from embedwire.batch.sources import Columns, SourceFormat, read
from embedwire.cli.terminal import printable


class UnreadableError(OSError):
    """A source cannot be read. `filename` and `strerror` are those of the original error."""


class Chain:
    """Several sources as one.

    Args:
        sources: the sources.
        prepare: sets options of each input; None if there are none.

    Attributes:
        ignored: as in `Source`.
    """

    def __init__(self, sources: Sequence[Source], prepare: Prepare | None = None) -> None:
        self.ignored: Counter[str] = Counter()
        self._sources = sources
        self._prepare = prepare

    def __iter__(self) -> Iterator[Record | InvalidRecord]:
        """Yield the records of all sources.

        Raises:
            UnreadableError: a source cannot be read.
        """
        self.ignored = Counter()
        for source in self._sources:
            try:
                yield from source if self._prepare is None else _prepared(source, self._prepare)
            except OSError as error:
                raise UnreadableError(error.errno, error.strerror or str(error), error.filename) from error
            self.ignored += source.ignored

    def count(self) -> int | None:
        """Return the number of entries; None if that of a source needs as long as reading it.

        Raises:
            UnreadableError: a source cannot be read.
        """
        total = 0
        for source in self._sources:
            try:
                count = source.count()
            except OSError as error:
                raise UnreadableError(error.errno, error.strerror or str(error), error.filename) from error
            if count is None:
                return None
            total += count
        return total


def _prepared(source: Source, prepare: Prepare) -> Iterator[Record | InvalidRecord]:
    for record in source:
        if isinstance(record, Record):
            yield dataclasses.replace(record, input=prepare(record.input))
        else:
            yield record


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """The sources of a command.

    Attributes:
        locations: the arguments, in their order.
        format: format of all; None to detect it.
        columns: names of the columns.
        include: patterns of the files of folders.
        checksum: whether versions of files are hashes of their content.
    """

    locations: Sequence[str]
    format: SourceFormat | None
    columns: Columns
    include: Sequence[str]
    checksum: bool

    def open(self, prepare: Prepare | None = None) -> Chain:
        """Return the sources as one.

        Args:
            prepare: as in `Chain`.

        Raises:
            BadParameter: a location or an option is invalid.
        """
        return Chain([self._open(location) for location in self.locations], prepare)

    def check_output(self, folder: Path) -> None:
        """Check that the output is not read as a source: its files have the types of tables.

        Raises:
            BadParameter: it is in a folder of tables.
        """
        if self.format not in {"jsonl", "parquet"}:
            return
        for location in self.locations:
            if Path(location).is_dir() and folder.resolve().is_relative_to(Path(location).resolve()):
                raise typer.BadParameter(f"must not be inside the source {printable(location)}", param_hint="--output")

    def _open(self, location: str) -> Source:
        try:
            return read(
                location,
                format=self.format,
                columns=self.columns,
                include=self.include,
                checksum=self.checksum,
            )
        except (OSError, ValueError, ImportError) as error:
            fault = (error.strerror if isinstance(error, OSError) else None) or str(error)
            fault = fault.removeprefix(f"{location.rpartition('/')[2]}: ")  # the location names the file as well
            raise typer.BadParameter(f"{printable(location)}: {fault}", param_hint="SOURCE") from None
