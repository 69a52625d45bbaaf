"""npy parts: arrays and their lines."""

import json
from pathlib import Path

import numpy as np

from embedwire.batch.parts import writer
from tests.unit.batch.rows import DIMENSIONS, audio, text, texts, vector


def test_array_and_lines(tmp_path: Path) -> None:
    """The array has the vectors bit by bit; each line of the JSON file describes the row of its number."""
    rows = [text(1), audio(2, 0), audio(2, 1)]
    writer("npy", DIMENSIONS, metadata={}, has_uncertainty=False).write(tmp_path, 12, iter(rows))
    array = np.load(tmp_path / "part-00012.npy", mmap_mode="r")
    assert (array.shape, array.dtype) == ((3, DIMENSIONS), np.dtype("<f4"))
    assert array.tobytes() == b"".join(row.vector for row in rows)
    lines = [json.loads(line) for line in (tmp_path / "part-00012.jsonl").read_text().splitlines()]
    assert lines == [row.facts() for row in rows]
    assert lines[0]["embedding_option"] is None


def test_many_rows(tmp_path: Path) -> None:
    """The header has the number of rows, which is known only at the end, whatever its length."""
    for count in (1, 10, 12_345):
        writer("npy", DIMENSIONS, metadata={}, has_uncertainty=False).write(tmp_path, 0, texts(count))
        array = np.load(tmp_path / "part-00000.npy")
        assert array.shape == (count, DIMENSIONS)
        assert array[-1].tobytes() == vector(count - 1)


def test_uncertainty(tmp_path: Path) -> None:
    """Uncertainties are an array beside the vectors, NaN in rows without them."""
    rows = [audio(1, 0, has_uncertainty=True), text(3)]
    writer("npy", DIMENSIONS, metadata={}, has_uncertainty=True).write(tmp_path, 0, iter(rows))
    array = np.load(tmp_path / "uncertainty-00000.npy")
    assert array[0].tobytes() == vector(1000)
    assert np.isnan(array[1]).all()


def test_key_of_any_characters(tmp_path: Path) -> None:
    """A key with a line feed or of another script is one line, readable as UTF-8."""
    rows = [text(1), text(2)]
    rows[0] = type(rows[0])("Grüße\n音.txt", *[getattr(rows[0], name) for name in rows[0].__slots__[1:]])
    writer("npy", DIMENSIONS, metadata={}, has_uncertainty=False).write(tmp_path, 0, iter(rows))
    lines = (tmp_path / "part-00000.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["Grüße\n音.txt", "text-2"]
    assert "音" in lines[0]
