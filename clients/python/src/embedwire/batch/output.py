"""Output of a batch: the ledger, the parts and the file of failures, in one folder."""

import contextlib
import errno
import shutil
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

_FREE_BYTES = 32 << 20  # of the ledger, its log and the failures


class Output:
    """The folder of an output. A context manager, which locks it against other processes.

    Parts are written from committed rows of the ledger. They are on the disk before the ledger records them: if a run
    ends in the meantime, the next one removes this part, since its rows are still in the ledger.

    Args:
        folder: the folder; created if it does not exist.
        model: the model.
        options: options of the batch.

    Raises:
        OutputInUseError: another process writes to it.
        OutputMismatchError: it was written with another model or other settings, or its parts are not those of the
            ledger.
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
            self._check_space()
            self._check_parts()
            self.ledger.check_settings(self._settings(model.name))
            self._metadata["embedwire.upstream"] = self.ledger.setting("upstream")
            self._writer = self._new_writer()
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
            rows.written(number, parts.size(self._parts, number))
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

    def _check_space(self) -> None:
        """Check that the answers of all inputs in flight can be saved: they would be paid again otherwise.

        Raises:
            OSError: there is too little space.
        """
        needed = _FREE_BYTES + 2 * self._options.window * 4 * self._dimensions
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            fault = f"at least {needed >> 20} MiB of free space are needed, but there are {free >> 20}"
            raise OSError(errno.ENOSPC, fault, str(self._folder))

    def _check_parts(self) -> None:
        """Check the parts of the ledger. Remove what a run that ended in the meantime has written of the next one.

        Raises:
            OutputMismatchError: a part is missing, damaged or unknown. Nothing is removed then.
        """
        recorded = self.ledger.rows.parts()
        files = parts.found(self._parts)
        complete = [file for file in files if not file.is_temporary]
        if complete and not self.ledger.setting("model"):
            raise OutputMismatchError(
                f"{self._parts}: has part files, but {self._folder / 'ledger.sqlite'} is missing or empty; "
                "restore it, or use a new output"
            )
        known = len(recorded) + bool(self.ledger.rows.count)  # with the one whose rows are still in the ledger
        for file in complete:
            if file.number >= known:
                raise OutputMismatchError(f"{file.path}: the ledger does not know this part; use a new output")
        for number, size in recorded.items():
            if sum(file.path.stat().st_size for file in complete if file.number == number) != size:
                raise OutputMismatchError(
                    f"{self._parts / parts.part_name(number, self._suffix)}: missing or damaged, but its inputs count "
                    "as embedded; restore it, or use a new output"
                )
        for file in files:
            if file.is_temporary or file.number == len(recorded):
                file.path.unlink()

    @property
    def _suffix(self) -> str:
        return "." + self._options.format
