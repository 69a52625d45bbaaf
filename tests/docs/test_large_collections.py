"""Commands and figures of docs/large-collections.md."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedwire.batch.parts import Row, writer
from tests.docs.blocks import ROOT, blocks
from tests.docs.console import commands
from tests.docs.owners import LARGE_COLLECTIONS, owned
from tests.docs.shell import Shell
from tests.docs.stage import SAMPLES
from tests.support.process import ServerProcess

PAGE = (ROOT / "docs/large-collections.md").read_text()
TEXTS, IMAGES, RECORDINGS, MINUTES = 2_000_000, 300_000, 8_000, 240_000
VECTOR_BYTES = 512 * 4
PRICES = {"PRICE_OF_A_TEXT": "0.5", "PRICE_OF_AN_IMAGE": "0.5", "PRICE_OF_A_MINUTE": "0.5"}


def test_size_of_the_collection() -> None:
    """The page states the numbers that its tables are computed from."""
    assert f"{TEXTS:,} texts" in PAGE
    assert f"{IMAGES:,} images" in PAGE
    assert f"{MINUTES // 60:,} hours of audio: {RECORDINGS:,} recordings" in PAGE


def test_times() -> None:
    """The hours in the tables are the requests and minutes divided by the quotas."""
    for row in _rows("requests per minute"):
        per_hour = _number(row[0]) * 60
        assert row[1:] == [_hours(TEXTS / per_hour), _hours(IMAGES / per_hour), _hours(RECORDINGS / per_hour)]
    for row in _rows("media minutes per hour"):
        assert row[1:] == [_hours(MINUTES / _number(row[0]))]


def test_sizes() -> None:
    """The sizes are the numbers of vectors times the bytes of one in Parquet."""
    windows = MINUTES * 60 // 6 * 2
    numbers = [TEXTS, IMAGES, windows, TEXTS + IMAGES + windows]
    expected = [[f"{number:,}", f"{number * 2058 / 1e9:.1f} GB"] for number in numbers]
    assert [row[1:] for row in _rows("| vectors", 3)] == expected


@pytest.mark.parametrize("key", ["text-{:08}", "recordings/{:06}.flac"])
def test_bytes_of_a_vector(key: str, tmp_path: Path) -> None:
    """A vector has as many bytes in Parquet as the page states."""
    number = 4096
    rows = (
        Row(key.format(i), "audio", i % 1200, float(i), i + 6.0, "audio", "clip", 1800.0, None, os.urandom(2048), None)
        for i in range(number)
    )
    writer("parquet", 512, metadata={}, has_uncertainty=False).write(tmp_path, 0, rows)

    (file,) = tmp_path.glob("*.parquet")
    assert 2055 <= file.stat().st_size / number <= 2062


@pytest.mark.timeout(400)  # seven processes one after the other
async def test_commands(tmp_path: Path) -> None:
    """Each command of the page ends with 0, with a small collection of the same names."""
    texts = pa.table({"key": ["a", "b"], "text": ["a red fox", "a blue bird"]})
    pq.write_table(texts, tmp_path / "texts.parquet")
    for name, sample in {"images": "picture.png", "recordings": "melody.flac"}.items():
        (tmp_path / name).mkdir()
        shutil.copy(SAMPLES / sample, tmp_path / name / f"a-{sample}")
    found = [command.text for block in owned(blocks(), LARGE_COLLECTIONS) for command in commands(block.text)]
    async with ServerProcess.running() as server:
        variables = {"PATH": f"{ROOT}/.venv/bin:/usr/bin:/bin", "EMBEDWIRE_TARGET": server.target, "COLUMNS": "80"}
        async with Shell.running(tmp_path, tmp_path, variables | PRICES) as shell:
            codes = {text: (await shell.run(text))[1] for text in found}
    assert codes == dict.fromkeys(found, 0)
    assert len(found) == 7
    assert (tmp_path / "vectors/recordings/embeddings/part-00000.parquet").is_file()


def _rows(heading: str, columns: int = 0) -> list[list[str]]:
    """Return the cells of the table whose heading has this text."""
    table = PAGE[PAGE.index(f"| {heading}" if not columns else heading) :].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    assert rows
    return rows


def _number(cell: str) -> int:
    return int(cell.replace(",", ""))


def _hours(hours: float) -> str:
    """Return hours as the page shows them, with days if it is more than two."""
    return f"{hours:.1f} h" + (f" ({hours / 24:.1f} days)" if hours > 48 else "")
