"""SQLite file of the ledger: one connection, which the threads of a batch share under a lock."""

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from embedwire.batch.errors import OutputInUseError, OutputMismatchError

_APPLICATION_ID, _SCHEMA_VERSION = 0x454D4257, 1  # "EMBW"
_PAGE_BYTES = 8192  # one or more rows with their vectors; smaller pages double the time to remove the rows of a part
_CACHE_KIB = 16 << 10
_CHECKPOINT_PAGES = (16 << 20) // _PAGE_BYTES  # each checkpoint waits for the disk
_MOST_DEFERRED = 1000  # statements

# Inputs have numbers, so that new ones are at the end of the file and only the index of keys is written at random.
_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inputs (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, version TEXT NOT NULL, state INTEGER NOT NULL);
CREATE TABLE tasks (key TEXT PRIMARY KEY, version TEXT NOT NULL, task_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE failures (key TEXT NOT NULL, version TEXT NOT NULL, entry INTEGER NOT NULL, reason TEXT NOT NULL,
  code TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (key, version, entry)) WITHOUT ROWID;
CREATE TABLE rows (id INTEGER PRIMARY KEY, key TEXT NOT NULL, modality TEXT NOT NULL, segment_index INTEGER NOT NULL,
  start_offset_sec REAL, end_offset_sec REAL, embedding_option TEXT NOT NULL, embedding_scope TEXT NOT NULL,
  media_duration_sec REAL, truncated INTEGER, vector BLOB NOT NULL, uncertainty BLOB);
CREATE TABLE parts (number INTEGER PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
"""


class Database:
    """The connection. A context manager.

    While it is open, no other process can open the file. A committed transaction survives the end of the process at any
    instant (write-ahead log). After a power failure the last transactions may be missing, but never a part of one:
    the log is synchronised with the disk at each checkpoint only (`synchronous=NORMAL`).

    Args:
        path: the file; created if it does not exist.

    Raises:
        OutputInUseError: another process has opened it.
        OutputMismatchError: it is no ledger, or one of another version.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = self._deferred = 0
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements, which are committed when the block ends, together with deferred ones.

        Raises:
            OSError: the file cannot be written, for instance because the disk is full; nothing is committed.
        """
        with self.deferred() as connection:
            yield connection
            self._commit()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[sqlite3.Connection]:
        """Run statements that may be lost if the process ends: the next transaction commits them.

        Within the block of a transaction, they are part of it.

        Raises:
            OSError: as `transaction`.
        """
        with self._lock, self._errors():
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            self._depth += 1
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1
            self._deferred += 1
            if self._deferred >= _MOST_DEFERRED and self._depth == 0:
                self._commit()  # else the log would grow without a limit

    def _commit(self) -> None:
        self._deferred = 0
        self._connection.execute("COMMIT")

    def synchronise(self) -> None:
        """Write all transactions to the disk."""
        with self._lock, self._errors():
            if self._connection.in_transaction:
                self._commit()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA page_size={_PAGE_BYTES}")
        execute("PRAGMA locking_mode=EXCLUSIVE")  # a file lock until the connection is closed or the process ends
        is_new = not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_new and self._identity() != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise OutputMismatchError(f"{self._path}: not a ledger of this version of embedwire; use a new output")
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        if is_new:
            execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute(f"PRAGMA application_id={_APPLICATION_ID}")
            execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            execute("COMMIT")

    def _identity(self) -> tuple[int, int]:
        """Return the identifier of the program and the version of its schema, as stored in the file."""
        names = ("application_id", "user_version")
        application, version = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        return application, version

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert the errors of SQLite."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended part
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                message = f"{self._path.parent}: another process writes to this output; wait for it, or use another one"
                raise OutputInUseError(message) from None
            if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
                raise OutputMismatchError(f"{self._path}: damaged ({error}); use a new output") from error
            fault, number = str(error), errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
            if code == sqlite3.SQLITE_IOERR:
                fault += ", for instance because of a limit of file sizes; what was saved is safe"
            raise OSError(number, fault, str(self._path)) from error
