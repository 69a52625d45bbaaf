"""Output of a batch: the ledger, the parts and the file of failures, in one folder."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from embedwire.batch import failures_file, parts
from embedwire.batch.database import Database
from embedwire.batch.errors import OutputMismatchError
from embedwire.batch.ledger import Ledger
from embedwire.batch.options import BatchOptions
from embedwire.results import Model, Result
from embedwire.version import __version__


class Output:
    """The folder of an output. A context manager, which locks it against other processes.

    Parts are written from committed rows of the ledger. They are on the disk before the ledger records them: a part
    that it does not know was written by a run that ended in the meantime, and is removed, since its rows are still in
    the ledger.

    Args:
        folder: the folder; created if it does not exist.
        model: the model.
        options: options of the batch.

    Raises:
        OutputInUseError: another process writes to it.
        OutputMismatchError: it was written with another model or other settings, or a part is missing.
        ImportError: the extra `embedwire[batch]` is not installed.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, model: Model, options: BatchOptions) -> None:
        self._folder = folder
        self._parts = folder / "embeddings"
        self._parts.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._dimensions = options.dimensions or model.dimensions
        self._metadata = {"embedwire.model": model.name, "embedwire.version": __version__}
        with contextlib.ExitStack() as stack:
            database = stack.enter_context(Database(folder / "ledger.sqlite"))
            self.ledger = Ledger(database, retry_failed=options.retry_failed)
            self.ledger.check_settings(self._settings(model.name))
            self._metadata["embedwire.upstream"] = self.ledger.setting("upstream")
            self._writer = self._new_writer()
            self._remove_unknown_parts()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def check(self, result: Result) -> None:
        """Check that the vectors of a result are comparable with all others.

        Raises:
            OutputMismatchError: they have other dimensions, or are from another upstream: those of the sandbox are
                synthetic.
        """
        if result.dimensions != self._dimensions:
            raise OutputMismatchError(
                f"dimensions: the server returned {result.dimensions}, but this output has {self._dimensions}; "
                "set the dimensions that the model has"
            )
        if self._metadata["embedwire.upstream"] != result.upstream:
            self.ledger.check_settings({"upstream": result.upstream})
            self._metadata["embedwire.upstream"] = result.upstream
            self._writer = self._new_writer()

    def write_full_part(self) -> None:
        """Write a part if there are enough rows for one, and the failures.

        Raises:
            OSError: a file cannot be written; the rows are kept.
        """
        if self.ledger.rows.count >= self._options.part_rows:
            self.write()

    def write(self) -> None:
        """Write all rows that are in no part yet, and the failures.

        Raises:
            OSError: as `write_full_part`.
        """
        rows = self.ledger.rows
        if rows.count:
            number = self.number_of_parts
            self._writer.write(self._parts, number, rows.all(self._dimensions))
            rows.written(number)
        failures_file.write(self._folder / "failures.jsonl", self.ledger.failures.all())

    @property
    def number_of_parts(self) -> int:
        """Number of written parts."""
        return len(self.ledger.rows.parts())

    def _settings(self, model: str) -> Mapping[str, str]:
        own = {
            "model": model,
            "dimensions": str(self._dimensions),
            "format": self._options.format,
            "include_uncertainty": str(self._options.include_uncertainty),
        }
        return own | dict(self._options.settings)

    def _new_writer(self) -> parts.PartWriter:
        return parts.writer(
            self._options.format,
            self._dimensions,
            metadata=self._metadata,
            has_uncertainty=self._options.include_uncertainty,
        )

    def _remove_unknown_parts(self) -> None:
        numbers = self.ledger.rows.parts()
        parts.remove_others(self._parts, numbers)
        for number in numbers:
            name = parts.part_name(number, self._writer.suffix)
            if not (self._parts / name).exists():
                raise OutputMismatchError(
                    f"{self._parts / name}: missing, but its inputs count as embedded; restore it, or use a new output"
                )
