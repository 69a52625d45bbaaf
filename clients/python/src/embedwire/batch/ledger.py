"""Ledger of an output: the states of its inputs, the tasks of the upstream, failures and settings."""

import dataclasses
import enum
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from embedwire.batch.database import Database
from embedwire.batch.errors import OutputMismatchError
from embedwire.batch.failures_file import FailedInput
from embedwire.batch.records import InvalidRecord, Record
from embedwire.batch.rows import PendingRows
from embedwire.errors import Failure, FieldViolation
from embedwire.results import Embedding

_CHANGED = "has changed since it was embedded into this output; embed it into a new output, or under another key"
_DUPLICATE_KEY = "the source has this key twice, with different content; give each input a unique key"
_FAILURES_PER_READ = 1000


class State(enum.IntEnum):
    """State of an input in the ledger."""

    OPEN = 0
    EMBEDDED = 1
    FAILED = 2
    FAILED_FOR_NOW = 3


class Admission(enum.Enum):
    """What to do with a record of the source."""

    SEND = enum.auto()
    EMBEDDED_BEFORE = enum.auto()
    FAILED_BEFORE = enum.auto()
    DUPLICATE = enum.auto()
    INVALID = enum.auto()


class Admitted(NamedTuple):
    """Decision about a record, and the identifier of its task if the upstream has one; else empty."""

    admission: Admission
    task_id: str = ""


class Ledger:
    """The states of inputs. All methods can be called from any thread.

    Args:
        database: the open file.
        retry_failed: whether inputs that have failed permanently are sent again.
    """

    def __init__(self, database: Database, *, retry_failed: bool = False) -> None:
        self._database = database
        self._retry_failed = retry_failed
        self.rows = PendingRows(database)
        with database.transaction() as execute:
            execute.execute("DELETE FROM failures WHERE is_from_source")  # the source is read again
            (run,) = execute.execute("SELECT coalesce(max(run), 0) + 1 FROM inputs").fetchone()
        self._run = run

    def check_settings(self, settings: Mapping[str, str]) -> None:
        """Store settings that all rows of the output have in common.

        Raises:
            OutputMismatchError: the output has another value of one of them.
        """
        with self._database.transaction() as database:
            found = dict(database.execute("SELECT name, value FROM settings"))
            for name, value in settings.items():
                if found.setdefault(name, value) != value:
                    raise OutputMismatchError(
                        f"{name}: this output was written with {found[name]!r}, not {value!r}; "
                        "use the same value, or a new output"
                    )
            database.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", settings.items())

    def setting(self, name: str) -> str:
        """Return a stored setting; empty if there is none."""
        with self._database.deferred() as database:
            found = database.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def admit(self, record: Record | InvalidRecord) -> Admitted:
        """Decide about the next record of the source. The decision becomes durable with the next answer."""
        with self._database.deferred() as database:
            if isinstance(record, InvalidRecord):
                self._reject(record.key, "", None, "INVALID_RECORD", record.message)
                return Admitted(Admission.INVALID)
            query = "SELECT version, state, run FROM inputs WHERE key = ?"
            version, state, run = database.execute(query, (record.key,)).fetchone() or (record.version, State.OPEN, 0)
            if run == self._run:
                return self._admit_again(record, is_same=version == record.version)
            if state == State.EMBEDDED and version != record.version:
                database.execute("UPDATE inputs SET run = ? WHERE key = ?", (self._run, record.key))
                self._reject(record.key, record.version, record.modality, "CHANGED", _CHANGED)
                return Admitted(Admission.INVALID)
            if state == State.FAILED and version == record.version and not self._retry_failed:
                admission = Admission.FAILED_BEFORE
            else:
                admission = Admission.EMBEDDED_BEFORE if state == State.EMBEDDED else Admission.SEND
            if admission is Admission.SEND:
                database.execute("DELETE FROM failures WHERE key = ?", (record.key,))
                state = State.OPEN
            row = (record.key, record.version, state, self._run)
            database.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)", row)
            return Admitted(admission, self._task_of(record) if admission is Admission.SEND else "")

    def embedded(self, record: Record, embedding: Embedding) -> None:
        """Commit the vectors of an input.

        Raises:
            OSError: the ledger cannot be written, for instance because the disk is full.
        """
        with self._database.transaction() as database:
            self.rows.add(record, embedding)
            self._set_state(record, State.EMBEDDED)
            if record.modality == "audio":
                database.execute("DELETE FROM tasks WHERE key = ?", (record.key,))

    def failed(self, record: Record, failure: FailedInput) -> None:
        """Commit the failure of an input. If it is temporary, the next run sends the input again.

        Raises:
            OSError: as `embedded`.
        """
        with self._database.transaction() as database:
            self._add_failure(record.version, failure, is_from_source=False)
            self._set_state(record, State.FAILED_FOR_NOW if failure.is_temporary else State.FAILED)
            if not failure.is_temporary:
                database.execute("DELETE FROM tasks WHERE key = ?", (record.key,))

    def set_task(self, record: Record, task_id: str) -> None:
        """Commit the identifier of the upstream's task of an input; empty if there is none any more.

        Raises:
            OSError: as `embedded`.
        """
        with self._database.transaction() as database:
            if task_id:
                row = (record.key, record.version, task_id)
                database.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", row)
            else:
                database.execute("DELETE FROM tasks WHERE key = ?", (record.key,))

    def failures(self) -> Iterator[FailedInput]:
        """Yield all failures, in the order of their keys."""
        after = ("", "")
        query = "SELECT key, version, facts FROM failures WHERE (key, version) > (?, ?) ORDER BY key, version LIMIT ?"
        while True:
            with self._database.deferred() as database:
                found = database.execute(query, (*after, _FAILURES_PER_READ)).fetchall()
            if not found:
                return
            for key, version, facts in found:
                after = (key, version)
                yield _failed_input(facts)

    def count_failures(self) -> Counter[Failure]:
        """Return the number of failures by code and reason; the failures have no message."""
        with self._database.deferred() as database:
            found = database.execute("SELECT code, reason, count(*) FROM failures GROUP BY 1, 2").fetchall()
        return Counter({Failure(code, reason, ""): count for code, reason, count in found})

    def _admit_again(self, record: Record, *, is_same: bool) -> Admitted:
        if is_same:
            return Admitted(Admission.DUPLICATE)
        self._reject(record.key, record.version, record.modality, "DUPLICATE_KEY", _DUPLICATE_KEY)
        return Admitted(Admission.INVALID)

    def _task_of(self, record: Record) -> str:
        if record.modality != "audio":
            return ""
        query = "SELECT task_id FROM tasks WHERE key = ? AND version = ?"
        with self._database.deferred() as database:
            found = database.execute(query, (record.key, record.version)).fetchone()
        return str(found[0]) if found else ""

    def _set_state(self, record: Record, state: State) -> None:
        with self._database.deferred() as database:
            row = (record.key, record.version, state, self._run)
            database.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)", row)

    def _reject(self, key: str, version: str, modality: str | None, reason: str, message: str) -> None:
        failure = FailedInput(key, modality, reason, "INVALID_ARGUMENT", message)
        self._add_failure(version, failure, is_from_source=True)

    def _add_failure(self, version: str, failure: FailedInput, *, is_from_source: bool) -> None:
        facts = json.dumps(dataclasses.asdict(failure), ensure_ascii=True)
        row = (failure.key, version, failure.reason, failure.code, is_from_source, facts)
        with self._database.deferred() as database:
            database.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)", row)


def _failed_input(facts: str) -> FailedInput:
    members = json.loads(facts)
    return FailedInput(**members | {"fields": tuple(FieldViolation(**each) for each in members["fields"])})
