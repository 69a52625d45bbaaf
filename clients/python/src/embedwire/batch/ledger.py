"""Ledger of an output: the states of its inputs, the tasks of the upstream, and settings."""

import enum
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from embedwire.batch.database import Database
from embedwire.batch.errors import OutputMismatchError
from embedwire.batch.failure_table import FailureTable
from embedwire.batch.failures_file import FailedInput
from embedwire.batch.records import InvalidRecord, Record
from embedwire.batch.rows import PendingRows
from embedwire.results import Embedding

_CHANGED = "has changed since it was embedded into this output; embed it into a new output, or under another key"
_DUPLICATE_KEY = "the source has this key twice, with different content; give each input a unique key"


class State(enum.IntEnum):
    """State of an input in the ledger."""

    OPEN = 0
    EMBEDDED = 1
    FAILED = 2
    FAILED_FOR_NOW = 3


class Admission(enum.Enum):
    """What to do with an entry of the source."""

    SEND = enum.auto()
    EMBEDDED_BEFORE = enum.auto()
    FAILED_BEFORE = enum.auto()
    DUPLICATE = enum.auto()
    INVALID = enum.auto()


class Admitted(NamedTuple):
    """Decision about an entry, and the identifier of its task if the upstream has one; else empty."""

    admission: Admission
    task_id: str = ""


class Ledger:
    """The states of inputs in one run. All methods can be called from any thread.

    Args:
        database: the open file.
        retry_failed: whether inputs that have failed permanently are sent again.

    Attributes:
        rows: rows of the embedded inputs that are in no part yet.
        failures: the failures.
    """

    def __init__(self, database: Database, *, retry_failed: bool = False) -> None:
        self._database = database
        self._retry_failed = retry_failed
        self.rows = PendingRows(database)
        self.failures = FailureTable(database)
        self._seen = _Seen()

    def check_settings(self, settings: Mapping[str, str]) -> None:
        """Store settings that all rows of the output have in common. Without any row, others are replaced.

        Raises:
            OutputMismatchError: the output has rows, and another value of one of them.
        """
        with self._database.transaction() as connection:
            found = dict(connection.execute("SELECT name, value FROM settings"))
            if not self.rows.count and not self.rows.parts():
                found.clear()
            for name, value in settings.items():
                if found.setdefault(name, value) != value:
                    message = (
                        f"{name}: this output was written {_with(found[name])}, not {_with(value)}; "
                        "use the same value, or a new output"
                    )
                    raise OutputMismatchError(message, setting=name)
            connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", settings.items())

    def setting(self, name: str) -> str:
        """Return a stored setting; empty if there is none."""
        with self._database.deferred() as connection:
            found = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def admit(self, entry: Record | InvalidRecord) -> Admitted:
        """Decide about the next entry of the source. If the process ends, the next run decides again."""
        with self._database.deferred() as connection:
            if isinstance(entry, InvalidRecord):
                failure = FailedInput(entry.key, None, "INVALID_RECORD", "INVALID_ARGUMENT", entry.message)
                self.failures.add_entry(connection, "", failure)
                return Admitted(Admission.INVALID)
            query = "SELECT id, version, state FROM inputs WHERE key = ?"
            number, version, state = connection.execute(query, (entry.key,)).fetchone() or (0, "", State.OPEN)
            is_same = version == entry.version
            if number and self._seen.add(number):
                return Admitted(Admission.DUPLICATE) if is_same else self._reject(connection, entry, "DUPLICATE_KEY")
            if state == State.EMBEDDED:
                return Admitted(Admission.EMBEDDED_BEFORE) if is_same else self._reject(connection, entry, "CHANGED")
            if state == State.FAILED and is_same and not self._retry_failed:
                return Admitted(Admission.FAILED_BEFORE)
            if state != State.OPEN:
                self.failures.remove(connection, entry.key)
            if not number:
                self._seen.add(_set_state(connection, entry, State.OPEN))
            elif not is_same or state != State.OPEN:
                _set_state(connection, entry, State.OPEN)
            return Admitted(Admission.SEND, _task_of(connection, entry))

    def embedded(self, record: Record, embedding: Embedding) -> None:
        """Commit the vectors of an input.

        Raises:
            OSError: the ledger cannot be written, for instance because the disk is full.
        """
        with self._database.transaction() as connection:
            self.rows.add(connection, record, embedding)
            _set_state(connection, record, State.EMBEDDED)
            if record.modality == "audio":
                _remove_task(connection, record)
        self.rows.count += len(embedding.segments)

    def failed(self, record: Record, failure: FailedInput) -> None:
        """Commit the failure of an input. If it is temporary, the next run sends the input again.

        Raises:
            OSError: as `embedded`.
        """
        with self._database.transaction() as connection:
            self.failures.add(connection, record.version, failure)
            _set_state(connection, record, State.FAILED_FOR_NOW if failure.is_temporary else State.FAILED)
            if not failure.is_temporary:
                _remove_task(connection, record)

    def set_task(self, record: Record, task_id: str) -> None:
        """Commit the identifier of the upstream's task of an input; empty if there is none any more.

        Raises:
            OSError: as `embedded`.
        """
        with self._database.transaction() as connection:
            _remove_task(connection, record)
            if task_id:
                connection.execute("INSERT INTO tasks VALUES (?, ?, ?)", (record.key, record.version, task_id))

    def _reject(self, connection: sqlite3.Connection, record: Record, reason: str) -> Admitted:
        message = _CHANGED if reason == "CHANGED" else _DUPLICATE_KEY
        failure = FailedInput(record.key, record.modality, reason, "INVALID_ARGUMENT", message)
        self.failures.add_entry(connection, record.version, failure)
        return Admitted(Admission.INVALID)


class _Seen:
    """The inputs that this run has read, by number: a bit for each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> bool:
        """Add an input. Return whether it was there before."""
        index, bit = number >> 3, 1 << (number & 7)
        if index >= len(self._bits):
            self._bits.extend(bytes(index + 1024 - len(self._bits)))
        was_there = bool(self._bits[index] & bit)
        self._bits[index] |= bit
        return was_there


def _set_state(connection: sqlite3.Connection, record: Record, state: State) -> int:
    """Set the state of an input. Return its number if it is a new one; else the number has no meaning."""
    statement = (
        "INSERT INTO inputs (key, version, state) VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET version = excluded.version, state = excluded.state"
    )
    return connection.execute(statement, (record.key, record.version, int(state))).lastrowid or 0


def _with(value: str) -> str:
    return f"with {value!r}" if value else "without a value"


def _task_of(connection: sqlite3.Connection, record: Record) -> str:
    if record.modality != "audio":
        return ""
    query = "SELECT task_id FROM tasks WHERE key = ? AND version = ?"
    found = connection.execute(query, (record.key, record.version)).fetchone()
    return str(found[0]) if found else ""


def _remove_task(connection: sqlite3.Connection, record: Record) -> None:
    connection.execute("DELETE FROM tasks WHERE key = ?", (record.key,))
