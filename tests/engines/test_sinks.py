"""Examples that load the output of a batch into a vector database: loaded twice, killed, and searched."""

import asyncio
import dataclasses
import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import lancedb
import pytest
from qdrant_client import QdrantClient

from embedwire import Client
from embedwire.batch import Batch, BatchOptions
from embedwire.batch.sources import read
from tests.support.serving import Served, serving, until

SINKS = Path(__file__).parents[2] / "clients/python/examples/sinks"
MODEL = "marengo3.0"
TEXTS = [f"text {number} about foxes" for number in range(240)]
ROWS = Counter({(f"key-{number}", 0): 1 for number in range(len(TEXTS))})


@dataclasses.dataclass
class Sink:
    """One example and its database.

    Attributes:
        script: path of the example.
        database: path of the database.
        committed: returns the number of rows that were written so far, while the example runs.
        rows: returns how often each pair of key and segment index is in the database.
    """

    script: Path
    database: Path
    committed: Callable[[Path], int]
    rows: Callable[[Path], Counter[tuple[str, int]]]

    async def start(self, *words: str | Path) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(sys.executable, self.script, *words, stdout=pipe, stderr=pipe)

    async def run(self, *words: str | Path) -> str:
        process = await self.start(*words)
        out, errors = await process.communicate()
        assert (process.returncode, errors.decode()) == (0, "")
        return out.decode()


def lancedb_rows(database: Path) -> Counter[tuple[str, int]]:
    table = lancedb.connect(database).open_table(MODEL).to_arrow()
    return Counter(zip(table["key"].to_pylist(), table["segment_index"].to_pylist(), strict=True))


def lancedb_committed(database: Path) -> int:
    """Return the number of transactions that have rows: each writes a version of the table."""
    return max(0, len(list(database.glob("*/_versions/*.manifest"))) - 1)


def qdrant_rows(database: Path) -> Counter[tuple[str, int]]:
    client = QdrantClient(path=str(database))
    points, _ = client.scroll(MODEL, limit=10 * len(TEXTS))
    client.close()
    return Counter((point.payload["key"], point.payload["segment_index"]) for point in points if point.payload)


def qdrant_committed(database: Path) -> int:
    path = database / "collection" / MODEL / "storage.sqlite"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not created yet, or locked
        return 0
    finally:
        connection.close()


@pytest.fixture(params=["lancedb", "qdrant"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Sink:
    committed, rows = (
        (lancedb_committed, lancedb_rows) if request.param == "lancedb" else (qdrant_committed, qdrant_rows)
    )
    return Sink(SINKS / f"{request.param}_sink.py", tmp_path / "database", committed, rows)


@pytest.fixture
async def server() -> AsyncGenerator[Served]:
    async with serving() as served:
        yield served


@pytest.fixture
async def output(server: Served, tmp_path: Path) -> Path:
    """Return the output of a batch of texts, in many parts."""
    lines = (json.dumps({"key": f"key-{number}", "text": text}) for number, text in enumerate(TEXTS))
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    folder = tmp_path / "output"
    await asyncio.to_thread(embed, server.app.target, tmp_path / "texts.jsonl", folder)
    return folder


def embed(target: str, source: Path, folder: Path) -> None:
    with Client(target) as client:
        summary = Batch(client, MODEL, read(source), folder, BatchOptions(part_rows=20)).run()
    assert summary.is_complete


async def test_loaded_twice(sink: Sink, output: Path, server: Served) -> None:
    """A load during the batch takes the complete parts, a later one adds the others; a text then finds its own row."""
    last = max((output / "embeddings").iterdir())
    hidden = last.rename(last.with_name(f".{last.name}.part"))
    await sink.run(output, sink.database)
    assert sink.rows(sink.database) < ROWS
    hidden.rename(last)
    assert f"{len(TEXTS)} " in await sink.run(output, sink.database)
    assert sink.rows(sink.database) == ROWS
    lines = (await sink.run(output, sink.database, "--search", TEXTS[7], "--target", server.app.target)).splitlines()
    assert len(lines) == 5
    exact = "0.000" if "lancedb" in sink.script.name else "1.000"
    assert lines[0].split() == [exact, "key-7", "0", "0", "s"]


async def test_killed(sink: Sink, output: Path) -> None:
    """After SIGKILL in the middle of the load, a second load results in each row exactly once."""
    last = max((output / "embeddings").iterdir())
    content = last.read_bytes()
    last.unlink()
    os.mkfifo(last)  # without a writer, its reader waits: the process cannot end before it is killed
    process = await sink.start(output, sink.database)
    try:
        await until(lambda: sink.committed(sink.database) > 0, 120)
    finally:
        process.kill()
        await process.communicate()
    assert 0 < sink.rows(sink.database).total() < len(TEXTS)
    last.unlink()
    last.write_bytes(content)
    await sink.run(output, sink.database)
    assert sink.rows(sink.database) == ROWS
