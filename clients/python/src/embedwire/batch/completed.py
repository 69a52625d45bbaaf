"""The complete inputs of an output, for a dry run."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from embedwire.batch.database import Database
from embedwire.batch.ledger import State
from embedwire.batch.records import Record

_LEDGER = "ledger.sqlite"
_QUERY = "SELECT 1 FROM inputs WHERE key = ? AND version = ? AND state = ?"


@contextlib.contextmanager
def completed(folder: Path) -> Iterator[Callable[[Record], bool]]:
    """Open the ledger of an output, and yield a function that returns whether an input is embedded in it.

    Raises:
        OutputInUseError: a batch runs.
        OutputMismatchError: the folder has no ledger of a batch.
        OSError: it cannot be read.
    """
    if not (folder / _LEDGER).exists():
        yield lambda _: False
        return
    with Database(folder / _LEDGER) as database:

        def is_complete(record: Record) -> bool:
            with database.deferred() as connection:
                given = (record.key, record.version, State.EMBEDDED)
                return connection.execute(_QUERY, given).fetchone() is not None

        yield is_complete
