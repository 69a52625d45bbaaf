"""Failures of the inputs of an output, in the ledger."""

import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator

from embedwire.batch.database import Database
from embedwire.batch.failures_file import FailedInput
from embedwire.errors import Failure, FieldViolation

_PER_READ = 1000


_OF_INPUT = 0  # entry of the failure of an input; entries of the source are counted from 1


class FailureTable:
    """The failures of inputs, and the entries of the source that are no valid inputs.

    An input has at most one. Each run reads the source again and adds each invalid entry, also if it has the key of
    another one. All methods can be called from any thread.

    Args:
        database: the open file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries = 0
        with database.transaction() as connection:
            connection.execute("DELETE FROM failures WHERE entry > 0")

    def add(self, connection: sqlite3.Connection, version: str, failure: FailedInput) -> None:
        """Add the failure of an input, in the transaction of the caller."""
        self._insert(connection, version, _OF_INPUT, failure)

    def add_entry(self, connection: sqlite3.Connection, version: str, failure: FailedInput) -> None:
        """Add an invalid entry of the source, in the transaction of the caller."""
        self._entries += 1
        self._insert(connection, version, self._entries, failure)

    @staticmethod
    def remove(connection: sqlite3.Connection, key: str) -> None:
        """Remove the failure of an input, which is sent again."""
        connection.execute("DELETE FROM failures WHERE key = ? AND entry = ?", (key, _OF_INPUT))

    @staticmethod
    def _insert(connection: sqlite3.Connection, version: str, entry: int, failure: FailedInput) -> None:
        facts = json.dumps(dataclasses.asdict(failure), ensure_ascii=True)
        row = (failure.key, version, entry, failure.reason, failure.code, facts)
        connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)", row)

    def all(self) -> Iterator[FailedInput]:
        """Yield the failures in the order of their keys."""
        after = ("", "", -1)
        query = (
            "SELECT key, version, entry, facts FROM failures WHERE (key, version, entry) > (?, ?, ?) "
            "ORDER BY key, version, entry LIMIT ?"
        )
        while True:
            with self._database.deferred() as connection:
                found = connection.execute(query, (*after, _PER_READ)).fetchall()
            if not found:
                return
            yield from (_failed_input(facts) for *_, facts in found)
            after = found[-1][:3]

    def count(self) -> Counter[Failure]:
        """Return the number of failures by code and reason; they have no message."""
        with self._database.deferred() as connection:
            found = connection.execute("SELECT code, reason, count(*) FROM failures GROUP BY 1, 2").fetchall()
        return Counter({Failure(code, reason, ""): count for code, reason, count in found})


def _failed_input(facts: str) -> FailedInput:
    members = json.loads(facts)
    return FailedInput(**members | {"fields": tuple(FieldViolation(**each) for each in members["fields"])})
