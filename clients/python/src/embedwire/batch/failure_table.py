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


class FailureTable:
    """The failures, by key and version of the input. All methods can be called from any thread.

    Args:
        database: the open file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def add(
        connection: sqlite3.Connection, version: str, failure: FailedInput, *, is_from_source: bool = False
    ) -> None:
        """Add a failure, in the transaction of the caller.

        Args:
            connection: the connection.
            version: version of the input.
            failure: the failure.
            is_from_source: whether it was found while the source was read. Each run finds these again.
        """
        facts = json.dumps(dataclasses.asdict(failure), ensure_ascii=True)
        row = (failure.key, version, failure.reason, failure.code, is_from_source, facts)
        connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)", row)

    def all(self) -> Iterator[FailedInput]:
        """Yield the failures in the order of their keys."""
        after = ("", "")
        query = "SELECT key, version, facts FROM failures WHERE (key, version) > (?, ?) ORDER BY key, version LIMIT ?"
        while True:
            with self._database.deferred() as connection:
                found = connection.execute(query, (*after, _PER_READ)).fetchall()
            if not found:
                return
            yield from (_failed_input(facts) for _, _, facts in found)
            after = found[-1][:2]

    def count(self) -> Counter[Failure]:
        """Return the number of failures by code and reason; they have no message."""
        with self._database.deferred() as connection:
            found = connection.execute("SELECT code, reason, count(*) FROM failures GROUP BY 1, 2").fetchall()
        return Counter({Failure(code, reason, ""): count for code, reason, count in found})


def _failed_input(facts: str) -> FailedInput:
    members = json.loads(facts)
    return FailedInput(**members | {"fields": tuple(FieldViolation(**each) for each in members["fields"])})
