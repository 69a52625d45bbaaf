"""Rows of answered inputs that are in no part yet, and the parts that have been written."""

import array
import sys
from collections.abc import Iterator
from typing import NamedTuple

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
_INSERT = f"INSERT INTO rows ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_SELECT = f"SELECT id, {_COLUMNS} FROM rows WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608


class Pending(NamedTuple):
    """Rows that are in no part yet: their number, and the identifier of the last one."""

    count: int
    last: int


class PendingRows:
    """The rows. All methods can be called from any thread.

    Args:
        database: the open file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.deferred() as connection:
            self.pending = Pending(*connection.execute("SELECT count(*), coalesce(max(id), 0) FROM rows").fetchone())

    def add(self, record: Record, embedding: Embedding) -> None:
        """Add the rows of an embedding, in the transaction of the caller."""
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
                self.pending = Pending(self.pending.count + 1, last)

    def until(self, last: int, dimensions: int) -> Iterator[Row]:
        """Yield the rows up to an identifier in order, with about a MiB of them in memory."""
        limit = max(1, _BYTES_PER_READ // (4 * dimensions))
        after = 0
        while True:
            with self._database.deferred() as connection:
                found = connection.execute(_SELECT, (after, last, limit)).fetchall()
            if not found:
                return
            for identifier, *columns in found:
                after = identifier
                yield Row(*columns[:8], None if columns[8] is None else bool(columns[8]), *columns[9:])

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
            connection.execute("INSERT INTO parts VALUES (?, ?)", (number, pending.count))
            connection.execute("DELETE FROM rows WHERE id <= ?", (pending.last,))
            self.pending = Pending(self.pending.count - pending.count, self.pending.last)
        self._database.synchronise()


def _bytes(vector: Vector) -> bytes:
    """Return a vector as little-endian float32."""
    if isinstance(vector, array.array) and sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return vector.tobytes()  # type: ignore[attr-defined, no-any-return] - both kinds of vectors have it
