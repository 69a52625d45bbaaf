"""Parquet files: one row for each input."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from embedwire.batch.records import InvalidRecord, Record
from embedwire.batch.sources.ahead import in_order
from embedwire.batch.sources.rows import Columns, Rows, option_names
from embedwire.batch.sources.tables import Table, Tables

# Approximate size of the rows that are in memory together.
_BATCH_BYTES = 4 << 20
_MAX_ROWS = 1024
_BUFFER_BYTES = 1 << 20


class ColumnsError(OSError, ValueError):
    """A file lacks a column, or a column has an unsuitable type. The message names it and the columns of the file.

    It is a ValueError for the caller that chose the columns, and an OSError for one that reads a folder.
    """


class ParquetSource:
    """The rows of Parquet files, read in small groups.

    Args:
        tables: the files.
        columns: names of the columns.

    Attributes:
        ignored: number of other files in the folder, by suffix.

    Raises:
        OSError: the first file cannot be read.
        ColumnsError: it lacks a column, or a column has an unsuitable type.
    """

    def __init__(self, tables: Tables, columns: Columns) -> None:
        self.ignored: Counter[str] = Counter()
        self._tables = tables
        self._columns = columns
        for table in tables.found(Counter()):
            with self._opened(table):
                break

    def __iter__(self) -> Iterator[Record | InvalidRecord]:
        """Yield the records.

        Raises:
            OSError: a file or a bucket cannot be read, or a file lacks a column.
        """
        self.ignored.clear()
        for table in self._tables.found(self.ignored):
            rows = Rows(table.name, self._columns, table.references, "row")
            with self._opened(table) as (file, names):
                found = enumerate(_rows(table.name, file, names, self._columns.key))
                yield from in_order(
                    (rows.is_remote(fields), partial(rows.record, index, fields)) for index, fields in found
                )

    def count(self) -> int | None:
        """Return the number of rows; None for a folder in a bucket.

        Raises:
            OSError: a file cannot be read, or lacks a column.
        """
        if not self._tables.is_quick:
            return None
        return sum(self._rows_of(table) for table in self._tables.found(Counter()))

    def _rows_of(self, table: Table) -> int:
        with self._opened(table) as (file, _):
            count: int = file.metadata.num_rows
            return count

    @contextlib.contextmanager
    def _opened(self, table: Table) -> Iterator[tuple[pq.ParquetFile, list[str]]]:
        """Open a file; return it with the names of the columns to read."""
        with self._tables.store.open(table.path) as stream, contextlib.ExitStack() as stack:
            with _readable(table.name):
                file = stack.enter_context(pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False))
            yield file, _columns(table.name, file.schema_arrow, self._columns)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # of the store, not of pyarrow
            raise
        raise OSError(f"{name}: is not a valid Parquet file: {error}") from error


def _columns(name: str, schema: pa.Schema, columns: Columns) -> list[str]:
    """Return the columns to read: those of inputs that the file has, the key, and options."""
    has = set(schema.names)
    defaults = Columns()
    inputs = columns.inputs
    asked = {column for modality, column in inputs.items() if column != getattr(defaults, modality)}
    asked |= {columns.key} - {defaults.key}
    found = [column for column in inputs.values() if column in has]
    if missing := sorted(asked - has) or ([] if found else list(inputs.values())):
        fault = f"has no column {' or '.join(missing)}"
        raise ColumnsError(f"{name}: {fault}; its columns are {', '.join(schema.names) or 'none'}")
    texts = set(found) & {columns.text}
    found += [columns.key] if columns.key in has else []
    options = [each for modality, column in inputs.items() if column in has for each in option_names(modality)]
    found += [each for each in options if each in has and each not in found]
    for column in found:
        if schema.names.count(column) > 1:
            raise ColumnsError(f"{name}: has several columns {column}; rename all but one")
        if column in inputs.values():
            _check(name, column, schema.field(column).type, is_text=column in texts)
    return found


def _check(name: str, column: str, kind: pa.DataType, *, is_text: bool) -> None:
    """Check the type of a column of inputs.

    Raises:
        ColumnsError: it is unsuitable.
    """
    types = pa.types
    value = kind.value_type if types.is_dictionary(kind) else kind
    checks = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
        types.is_null,
    )
    is_file = not is_text and types.is_struct(value) and {"bytes", "path"} <= {each.name for each in value}
    if not is_file and not any(check(value) for check in checks):
        allowed = "string or binary" if is_text else "string, binary or struct<bytes, path>"
        raise ColumnsError(f"{name}: column {column} has type {kind}; it must be {allowed}")


def _rows(name: str, file: pq.ParquetFile, columns: list[str], key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows, with few of them in memory."""
    for group in range(file.num_row_groups):
        metadata = file.metadata.row_group(group)
        if metadata.num_rows == 0:
            continue
        size = max(1, min(_MAX_ROWS, _BATCH_BYTES * metadata.num_rows // max(1, metadata.total_byte_size)))
        batches = file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False)
        while True:
            with _readable(name):
                batch = next(batches, None)
                if batch is None:
                    break
                values = [_values(batch.column(column), is_key=column == key) for column in columns]
            for row in zip(*values, strict=True):
                yield dict(zip(columns, row, strict=True))


def _values(array: pa.Array, *, is_key: bool) -> list[Any]:
    """Return the values of a column; keys as strings."""
    kind = array.type
    is_nested = pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType)
    if not is_key or pa.types.is_binary(kind) or is_nested:
        found: list[Any] = array.to_pylist()
        return found
    if pa.types.is_fixed_size_binary(kind):
        return [None if value is None else value.hex() for value in array.to_pylist()]
    strings: list[Any] = array.cast(pa.string()).to_pylist()
    return strings
