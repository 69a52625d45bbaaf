"""Sources in memory, runs of a batch, and what is in their output."""

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from embedwire import Client, Text
from embedwire.batch import Batch, BatchOptions, InvalidRecord, Record, Summary
from tests.support.upstreams import Visit, reply

MODEL = "marengo3.0"
Entry = Record | InvalidRecord


class Listed:
    """A source of these entries; `read` is the number of entries read."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.ignored: Counter[str] = Counter()
        self.read = 0
        self._entries = entries

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self.read += 1
            yield entry

    def count(self) -> int | None:
        return len(self._entries)


def text(key: str, value: str = "", version: str = "") -> Record:
    value = value or f"text of {key}."
    return Record(key, Text(value), len(value), version or value)


def texts(count: int) -> list[Entry]:
    return [text(f"key-{number}") for number in range(count)]


async def run(target: str, entries: Sequence[Entry], folder: Path, model: str = MODEL, **options: Any) -> Summary:
    """Run a batch to its end, in a thread."""
    with Client(target) as client:
        batch = Batch(client, model, Listed(entries), folder, BatchOptions(**options))
        return await asyncio.to_thread(batch.run)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all parts, in order."""
    found: list[dict[str, Any]] = []
    for part in sorted((folder / "embeddings").iterdir()):
        found += parquet.read_table(part).to_pylist()
    return found


def keys(folder: Path) -> list[str]:
    """The keys of all rows, sorted."""
    return sorted(row["key"] for row in rows(folder))


def forget_parts(folder: Path) -> None:
    """Put the rows of all parts back into the ledger, as if the process had ended before it recorded them."""
    insert = (
        "INSERT INTO rows (key, modality, segment_index, embedding_option, embedding_scope, vector) "
        "VALUES (?, ?, ?, '', '', ?)"
    )
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        for row in rows(folder):
            vector = np.array(row["vector"], "<f4").tobytes()
            connection.execute(insert, (row["key"], row["modality"], row["segment_index"], vector))
        connection.execute("DELETE FROM parts")


def failures(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of the failures file, by key."""
    lines = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(lines)
    return {line["key"]: line for line in lines}


def text_of(visit: Visit) -> str:
    """The text of a request of v1: one of `texts`."""
    start = visit.body.index(b"text of ")
    return visit.body[start : visit.body.index(b".", start)].decode().removeprefix("text of ")


async def answer(visit: Visit) -> None:
    await visit.answer(reply())
