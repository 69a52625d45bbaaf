"""JSON lines: one object for each input."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from embedwire.batch.records import InvalidRecord, Record
from embedwire.batch.sources.ahead import in_order
from embedwire.batch.sources.building import MAX_TEXT_BYTES, Fault
from embedwire.batch.sources.lines import Lines
from embedwire.batch.sources.rows import Columns, Rows
from embedwire.batch.sources.tables import Tables


class JsonLinesSource:
    """The objects of files of JSON lines.

    Args:
        tables: the files.
        columns: names of the fields.

    Attributes:
        ignored: number of other files in the folder, by suffix.
    """

    def __init__(self, tables: Tables, columns: Columns) -> None:
        self.ignored: Counter[str] = Counter()
        self._tables = tables
        self._columns = columns

    def __iter__(self) -> Iterator[Record | InvalidRecord]:
        """Yield the records.

        Raises:
            OSError: a file or a bucket cannot be read.
        """
        self.ignored.clear()
        for table in self._tables.found(self.ignored):
            rows = Rows(table.name, self._columns, table.references, "line")
            lines = Lines(self._tables.store, table.path)
            yield from in_order(_task(rows, index, line) for index, line in lines)

    def count(self) -> int | None:
        """Return the number of lines of local files.

        Raises:
            OSError: a file cannot be read.
        """
        counts = [Lines(self._tables.store, table.path).count() for table in self._tables.found(Counter())]
        return None if None in counts else sum(count or 0 for count in counts)


def _task(rows: Rows, index: int, line: bytes | None) -> tuple[bool, Callable[[], Record | InvalidRecord]]:
    try:
        fields = _object(line)
    except Fault as error:
        return False, partial(rows.invalid, index, str(error))
    return rows.is_remote(fields), partial(rows.record, index, fields)


def _object(line: bytes | None) -> dict[str, Any]:
    """Parse a line.

    Raises:
        Fault: it is not a JSON object.
    """
    if line is None:
        raise Fault(f"must have at most {MAX_TEXT_BYTES} bytes")
    try:
        fields: Any = json.loads(line.decode())
    except UnicodeDecodeError:
        raise Fault("must be valid UTF-8") from None
    except (ValueError, RecursionError) as error:
        column = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Fault(f"must be a JSON object{column}") from None
    if not isinstance(fields, dict):
        raise Fault("must be a JSON object, not another value")
    return fields
