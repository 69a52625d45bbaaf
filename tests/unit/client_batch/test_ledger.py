"""The ledger: what a later run finds, after an orderly end and after lost or failed transactions."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedwire import Audio, Failure, Text
from embedwire.batch import InvalidRecord, OutputInUseError, OutputMismatchError
from embedwire.batch.database import Database
from embedwire.batch.failures_file import FailedInput
from embedwire.batch.ledger import Admission, Ledger
from embedwire.batch.records import Record
from embedwire.errors import FieldViolation
from embedwire.results import Embedding, Result, Segment, Timings

TEXT = Record("a", Text("one"), 3, "1")
SOUND = Record("sound", Audio(data=b"s"), 1, "1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database(path) as opened:
        yield opened


def embedding(segments: int = 1, uncertainty: float | None = None) -> Embedding:
    truncated = True
    result = Result(0, "", "m", 2, segments, None, None, truncated, 1.5, 1, Timings(0, 0, 0, 0), "sandbox", None, "id")
    vectors = [np.array([index, 0.5], "<f4") for index in range(segments)]
    uncertain = None if uncertainty is None else np.array([uncertainty] * 2, "<f4")
    return Embedding(
        result,
        tuple(
            Segment(0, "", index, "audio", vector, index, None, "audio", "clip", uncertain)
            for index, vector in enumerate(vectors)
        ),
    )


def test_rows_are_returned_as_they_were(database: Database) -> None:
    """The rows have the vectors, the uncertainties and the facts of their segments, in order."""
    ledger = Ledger(database)
    ledger.embedded(SOUND, embedding(700, 0.25))
    found = list(ledger.rows.all(2))
    assert ledger.rows.count == 700 == len(found)
    assert [row.segment_index for row in found] == list(range(700))
    last = found[-1]
    assert (last.key, last.modality, last.embedding_option, last.embedding_scope) == ("sound", "audio", "audio", "clip")
    assert (last.start_offset_sec, last.end_offset_sec, last.media_duration_sec, last.truncated) == (
        699,
        None,
        1.5,
        True,
    )
    assert last.vector == np.array([699, 0.5], "<f4").tobytes()
    assert last.uncertainty == np.array([0.25, 0.25], "<f4").tobytes()


def test_reads_do_not_depend_on_their_size(database: Database) -> None:
    """Rows that are read in several portions come once each."""
    ledger = Ledger(database)
    ledger.embedded(SOUND, embedding(10))
    assert [row.segment_index for row in ledger.rows.all(100_000)] == list(range(10))  # two for each portion


def test_a_written_part_has_no_pending_rows(path: Path) -> None:
    """After a part is recorded its rows are removed, and its number is known to the next run."""
    with Database(path) as database:
        ledger = Ledger(database)
        ledger.embedded(TEXT, embedding())
        ledger.rows.written(0, 9)
        ledger.embedded(SOUND, embedding(3))
    with Database(path) as database:
        ledger = Ledger(database)
        assert ledger.rows.parts() == {0: 9}
        assert ledger.rows.count == 3


def test_settings_count_from_the_first_row(database: Database) -> None:
    """Settings of an output without rows can be corrected."""
    ledger = Ledger(database)
    ledger.check_settings({"dimensions": "7"})
    ledger.check_settings({"dimensions": "2"})
    ledger.embedded(TEXT, embedding())
    with pytest.raises(OutputMismatchError, match="dimensions: this output was written with '2', not with '7'"):
        ledger.check_settings({"dimensions": "7"})


def test_invalid_entries_have_a_failure_each(path: Path) -> None:
    """Invalid entries are all kept, also with the key of another one; the next run finds them again."""
    for _ in range(2):
        with Database(path) as database:
            ledger = Ledger(database)
            for message in ("empty", "not a text"):
                ledger.admit(InvalidRecord("a", message))
            ledger.admit(TEXT)
            ledger.embedded(TEXT, embedding())
            ledger.admit(Record("a", Text("two"), 3, "2"))
            found = [(failure.key, failure.reason, failure.message) for failure in ledger.failures.all()]
            assert found[:2] == [("a", "INVALID_RECORD", "empty"), ("a", "INVALID_RECORD", "not a text")]
            assert [reason for _, reason, _ in found[2:]] == ["DUPLICATE_KEY"]
            assert sum(ledger.failures.count().values()) == 3


def test_states_of_a_later_run(path: Path) -> None:
    """Embedded and permanently failed inputs are not sent again; open and temporarily failed ones are."""
    records = {name: Record(name, Text(name), 1, "1") for name in ("embedded", "failed", "temporary", "open")}
    with Database(path) as database:
        ledger = Ledger(database)
        assert all(ledger.admit(record).admission is Admission.SEND for record in records.values())
        ledger.embedded(records["embedded"], embedding())
        ledger.failed(records["failed"], FailedInput("failed", "text", "INPUT_REJECTED", "INVALID_ARGUMENT", "no"))
        later = FailedInput("temporary", "text", "INTERNAL", "INTERNAL", "no", is_temporary=True)
        ledger.failed(records["temporary"], later)
        assert ledger.failures.count() == {
            Failure("INVALID_ARGUMENT", "INPUT_REJECTED", ""): 1,
            Failure("INTERNAL", "INTERNAL", ""): 1,
        }
    with Database(path) as database:
        ledger = Ledger(database)
        found = {name: ledger.admit(record).admission for name, record in records.items()}
        assert [failure.key for failure in ledger.failures.all()] == ["failed"]
    assert found == {
        "embedded": Admission.EMBEDDED_BEFORE,
        "failed": Admission.FAILED_BEFORE,
        "temporary": Admission.SEND,
        "open": Admission.SEND,
    }


def test_failures_are_returned_as_they_were(database: Database) -> None:
    """A failure keeps its facts; many are yielded in the order of their keys, in several reads."""
    ledger = Ledger(database)
    fields = (FieldViolation("text.value", "must not be empty"),)
    given = [
        FailedInput(f"{number:04}", "text", "INVALID_REQUEST", "INVALID_ARGUMENT", "ü\udc80", fields, 3, "id", "task")
        for number in range(2100)
    ]
    for failure in reversed(given):
        ledger.failed(Record(failure.key, Text("a"), 1, "1"), failure)
    assert list(ledger.failures.all()) == given


def test_failures_of_the_source_are_found_again(path: Path) -> None:
    """A changed, repeated or invalid entry fails in each run that reads it, and no longer when it is corrected."""
    entries: list[Record | InvalidRecord] = [
        TEXT,
        Record("a", Text("other"), 5, "2"),
        InvalidRecord("line:3", "no JSON"),
    ]
    with Database(path) as database:
        ledger = Ledger(database)
        assert [ledger.admit(entry).admission.name for entry in entries] == ["SEND", "INVALID", "INVALID"]
        ledger.embedded(TEXT, embedding())
        assert [each.reason for each in ledger.failures.all()] == ["DUPLICATE_KEY", "INVALID_RECORD"]
    with Database(path) as database:
        ledger = Ledger(database)
        assert ledger.admit(entries[1]).admission is Admission.INVALID
        assert [each.reason for each in ledger.failures.all()] == ["CHANGED"]
    with Database(path) as database:
        ledger = Ledger(database)
        assert ledger.admit(TEXT).admission is Admission.EMBEDDED_BEFORE
        assert ledger.admit(TEXT).admission is Admission.DUPLICATE
        assert list(ledger.failures.all()) == []


def test_tasks_belong_to_a_version(path: Path) -> None:
    """A later run gets the task of an input, unless the input has changed, ended, or the task is not known any more."""
    with Database(path) as database:
        ledger = Ledger(database)
        ledger.admit(SOUND)
        ledger.set_task(SOUND, "old")
        ledger.set_task(SOUND, "new")
    with Database(path) as database:
        assert Ledger(database).admit(SOUND) == (Admission.SEND, "new")
        assert Ledger(database).admit(Record("sound", SOUND.input, 2, "2")) == (Admission.SEND, "")
        Ledger(database).set_task(SOUND, "")
        assert Ledger(database).admit(SOUND) == (Admission.SEND, "")


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    """If a statement of a transaction fails, none of it is in the ledger, and the error is an OSError."""
    ledger = Ledger(database)
    wrong = embedding(2)
    object.__setattr__(wrong.segments[1], "embedding_scope", None)  # a column that must not be null
    with pytest.raises(OSError, match="NOT NULL"):
        ledger.embedded(TEXT, wrong)
    assert ledger.rows.count == 0
    assert list(ledger.rows.all(2)) == []
    assert ledger.admit(TEXT).admission is Admission.SEND


def fail_within_a_transaction(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO tasks VALUES ('key', 'version', 'task')")
        with database.deferred() as inner:
            inner.execute("INSERT INTO parts VALUES (1, 1, 1)")
        raise ZeroDivisionError


def test_deferred_statements_do_not_divide_a_transaction(database: Database) -> None:
    """However many statements are deferred, those of a transaction are committed together or not at all."""
    ledger = Ledger(database)
    for number in range(3000):
        if number % 4:
            ledger.admit(Record(str(number), Text("a"), 1, "1"))
        with pytest.raises(ZeroDivisionError):
            fail_within_a_transaction(database)
    assert ledger.rows.parts() == {}
    with database.deferred() as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (0,)


def test_one_process_at_a_time(path: Path) -> None:
    """A second connection is an error that names the folder, until the first one is closed."""
    with Database(path), pytest.raises(OutputInUseError, match=f"{path.parent}: another process"):
        Database(path)
    with Database(path):
        pass


@pytest.mark.parametrize("content", [b"no database " * 1000, None])
def test_another_file_is_an_error(path: Path, content: bytes | None) -> None:
    """A file that is no database, or a database of another program, is an error, and is not changed."""
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (a)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(OutputMismatchError, match="use a new output"):
        Database(path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file that cannot be opened is an OSError that names it."""
    with pytest.raises(OSError, match="unable to open") as caught:
        Database(tmp_path / "missing" / "ledger.sqlite")
    assert caught.value.filename == str(tmp_path / "missing" / "ledger.sqlite")


def test_other_settings(database: Database) -> None:
    """Another value of a stored setting is an error; new settings are added."""
    ledger = Ledger(database)
    ledger.check_settings({"model": "m"})
    ledger.check_settings({"model": "m", "upstream": "sandbox"})
    ledger.embedded(TEXT, embedding())
    with pytest.raises(OutputMismatchError, match="upstream: this output was written with 'sandbox', not with 'other'"):
        ledger.check_settings({"upstream": "other"})
    assert (ledger.setting("upstream"), ledger.setting("format")) == ("sandbox", "")
