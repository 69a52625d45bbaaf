"""Rows of answered inputs that are in no part yet, and the parts that have been written."""

import array
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

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
_SELECT = f"SELECT id, {_COLUMNS} FROM rows WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608


class PendingRows:
    """The rows. All methods can be called from any thread.

    Args:
        database: the open file.

    Attributes:
        count: number of committed rows that are in no part yet.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.deferred() as connection:
            (self.count,) = connection.execute("SELECT count(*) FROM rows").fetchone()

    @staticmethod
    def add(connection: sqlite3.Connection, record: Record, embedding: Embedding) -> None:
        """Add the rows of an embedding, in the transaction of the caller, which then adds their number to `count`."""
        duration, truncated = embedding.result.media_duration_sec, embedding.result.truncated
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
            connection.execute(_INSERT, row)

    def all(self, dimensions: int) -> Iterator[Row]:
        """Yield the rows in order, with about a MiB of them in memory. None may be added in the meantime."""
        limit = max(1, _BYTES_PER_READ // (4 * dimensions))
        after = 0
        while True:
            with self._database.deferred() as connection:
                found = connection.execute(_SELECT, (after, limit)).fetchall()
            if not found:
                return
            yield from map(_row, found)
            after = found[-1][0]

    def parts(self) -> dict[int, int]:
        """Return the size of each written part in bytes, by its number."""
        with self._database.deferred() as connection:
            return dict(connection.execute("SELECT number, bytes FROM parts ORDER BY number"))

    def written(self, number: int, size: int) -> None:
        """Record a part that has all rows, and remove these. It has to be on the disk.

        Args:
            number: its number.
            size: size of its files in bytes.

        Raises:
            OSError: the ledger cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO parts VALUES (?, ?, ?)", (number, self.count, size))
            connection.execute("DELETE FROM rows")
        self.count = 0
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
