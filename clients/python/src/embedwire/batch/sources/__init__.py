"""Sources of a batch: a folder, a bucket, a list of files, JSON lines, Parquet."""

import errno
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, get_args

from embedwire.batch.records import Source
from embedwire.batch.sources.file_list import ListSource
from embedwire.batch.sources.files import Store
from embedwire.batch.sources.folder import FolderSource
from embedwire.batch.sources.json_lines import JsonLinesSource
from embedwire.batch.sources.lines import Lines
from embedwire.batch.sources.local import STDIN, StandardInput
from embedwire.batch.sources.parquet import ParquetSource
from embedwire.batch.sources.references import References, locate
from embedwire.batch.sources.remote import without_credentials
from embedwire.batch.sources.rows import Columns
from embedwire.batch.sources.tables import Tables

__all__ = ["Columns", "SourceFormat", "read"]

SourceFormat = Literal["folder", "list", "jsonl", "parquet"]

_SUFFIXES: dict[str, SourceFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "list",
}


def read(
    location: str | os.PathLike[str],
    *,
    format: SourceFormat | None = None,  # noqa: A002 - the name of the option
    columns: Columns | None = None,
    include: Sequence[str] = (),
    checksum: bool = False,
) -> Source:
    """Return the source of a location.

    | location | format | inputs | key |
    |---|---|---|---|
    | folder, prefix of a bucket | "folder" | its files, also in folders below it | path relative to the folder |
    | FILE.txt | "list" | one path or URL in each line | the line |
    | FILE.jsonl, FILE.ndjson | "jsonl" | one object in each line | field `key`, else NAME:ROW |
    | FILE.parquet, FILE.pq | "parquet" | one row each | column `key`, else NAME:ROW |

    ROW counts from 0. With the format "jsonl" or "parquet", a folder means all its files of this type.

    Args:
        location: path, URL of fsspec (for instance "s3://bucket/prefix"), or "-" for a list or JSON lines from standard
            input.
        format: format; None means that of the table above.
        columns: names of the fields of JSON lines or the columns of Parquet.
        include: patterns of relative paths of a folder, for instance "*.png"; empty means all.
        checksum: whether the versions of files are hashes of their content, which is read for it. By default they are
            size and time of modification, or what a bucket has in place of it.

    Raises:
        ImportError: the package for this kind of URL is not installed.
        OSError: the location cannot be read.
        ValueError: the format is unknown or does not fit, a column is missing, or this kind of URL is unknown.
    """
    text = os.fspath(location)
    if format is not None and format not in get_args(SourceFormat):
        raise ValueError(f"format: must be one of {', '.join(get_args(SourceFormat))}, got {format!r}")
    if text == STDIN:
        return _stdin(format, columns or Columns(), checksum=checksum)
    store, path = locate(text)
    path = path.rstrip("/") or path
    is_folder = _is_folder(store, path, text)
    chosen = format or ("folder" if is_folder else _format(path))
    if chosen == "folder":
        if not is_folder:
            raise NotADirectoryError(f"{path}: is not a folder")
        return FolderSource(store, path, include, checksum=checksum)
    if include:
        raise ValueError(f"include: selects files of a folder; the format is {chosen}")
    suffixes = [suffix for suffix, name in _SUFFIXES.items() if name == chosen]
    tables = Tables(store, path, suffixes, is_folder=is_folder, checksum=checksum)
    if chosen == "parquet":
        return ParquetSource(tables, columns or Columns())
    if chosen == "jsonl":
        return JsonLinesSource(tables, columns or Columns())
    if is_folder:
        raise IsADirectoryError(f"{path}: is a folder; a list is a file")
    return ListSource(Lines(store, path), next(tables.found(Counter())).references)


def _stdin(chosen: SourceFormat | None, columns: Columns, *, checksum: bool) -> Source:
    store = StandardInput()
    if chosen == "list":
        return ListSource(Lines(store, STDIN), References(store, "", checksum=checksum))
    if chosen == "jsonl":
        return JsonLinesSource(Tables(store, STDIN, (), is_folder=False, checksum=checksum), columns)
    raise ValueError(f"format: standard input can be a list or jsonl, got {chosen or 'none'}")


def _is_folder(store: Store, path: str, location: str) -> bool:
    try:
        return store.entry(path).kind == "folder"
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), without_credentials(location)) from None


def _format(path: str) -> SourceFormat:
    """Return the format of a file.

    Raises:
        ValueError: its type is unknown.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"format: must be given for a file {suffix or 'without a suffix'}; or name a folder")
    return _SUFFIXES[suffix]
