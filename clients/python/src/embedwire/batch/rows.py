"""Rows of answered inputs that are in no part yet, and the parts that have been written."""

import array
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from embedwire.batch.database import Database
from embedwire.batch.parts import Row
from embedwire.batch.records import Record
from embedwire.results import Embedding
from embedwire.vectors import Vector

_BYTES_PER_READ = 1 << 20
_COLUMNS = (
    "key, modality, segment_index, start_offset_sec, end_offset_sec, embedding_option, embedding_scope, "
    "media_duration_sec, truncated, vector, uncertainty"
)
_TRUNCATED = 8  # SQLite has no type for it
_INSERT = f"INSERT INTO rows ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_SELECT = f"SELECT id, {_COLUMNS} FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608


class Pending(NamedTuple):
    """Rows that are in no part yet: their number, and the identifier of the last one."""

    rows: int
    last: int


class PendingRows:
    """The rows. All methods can be called from any thread.

    Args:
        database: the open file.

    Attributes:
        pending: the committed rows that are in no part yet.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.deferred() as connection:
            self.pending = Pending(*connection.execute("SELECT count(*), coalesce(max(id), 0) FROM rows").fetchone())

    def add(self, record: Record, embedding: Embedding) -> Pending:
        """Add the rows of an embedding, in the transaction of the caller. Return what is pending after its commit."""
        pending = self.pending
        duration, truncated = embedding.result.media_duration_sec, embedding.result.truncated
        with self._database.deferred() as connection:
            for segment in embedding.segments:
                row = (
                    record.key,
                    record.modality,
                    segment.segment_index,
                    segment.start_offset_sec,
                    segment.end_offset_sec,
                    segment.embedding_option,
                    segment.embedding_scope,
                    duration,
                    truncated,
                    _bytes(segment.vector),
                    None if segment.uncertainty is None else _bytes(segment.uncertainty),
                )
                last = connection.execute(_INSERT, row).lastrowid or 0
                pending = Pending(pending.rows + 1, last)
        return pending

    def until(self, last: int, dimensions: int) -> Iterator[Row]:
        """Yield the rows up to an identifier in order, with about a MiB of them in memory."""
        limit = max(1, _BYTES_PER_READ // (4 * dimensions))
        after = 0
        while True:
            with self._database.deferred() as connection:
                found = connection.execute(_SELECT, (after, last, limit)).fetchall()
            if not found:
                return
            yield from map(_row, found)
            after = found[-1][0]

    def parts(self) -> list[int]:
        """Return the numbers of the written parts."""
        with self._database.deferred() as connection:
            return [number for (number,) in connection.execute("SELECT number FROM parts ORDER BY number")]

    def written(self, number: int, pending: Pending) -> None:
        """Record a part, and remove its rows. The part has to be on the disk.

        Raises:
            OSError: the ledger cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO parts VALUES (?, ?)", (number, pending.rows))
            connection.execute("DELETE FROM rows WHERE id <= ?", (pending.last,))
        self.pending = Pending(self.pending.rows - pending.rows, self.pending.last)
        self._database.synchronise()


def _row(columns: tuple[Any, ...]) -> Row:
    values = list(columns[1:])
    values[_TRUNCATED] = None if values[_TRUNCATED] is None else bool(values[_TRUNCATED])
    return Row(*values)


def _bytes(vector: Vector) -> bytes:
    """Return a vector as little-endian float32."""
    values: Any = vector  # an array of numpy or of the standard library
    if isinstance(values, array.array) and sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    data: bytes = values.tobytes()
    return data
