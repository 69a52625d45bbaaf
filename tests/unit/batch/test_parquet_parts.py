"""Parquet parts: schema, values, row groups, encodings and metadata."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import dataset
from pyarrow import parquet as pq

from embedwire.batch.parts import Row, writer
from tests.unit.batch.rows import DIMENSIONS, audio, text, texts, vector


def write(folder: Path, rows: list[Row], *, has_uncertainty: bool = False) -> Path:
    """Write one part."""
    writer("parquet", DIMENSIONS, metadata={"embedwire.model": "m"}, has_uncertainty=has_uncertainty).write(
        folder, 0, iter(rows)
    )
    return folder / "part-00000.parquet"


def test_columns(tmp_path: Path) -> None:
    """The columns have the documented types and values; what does not apply is null."""
    table = pq.read_table(write(tmp_path, [text(1), audio(2, 0)]))
    assert table.schema.field("vector").type == pa.list_(pa.field("element", pa.float32(), nullable=False), DIMENSIONS)
    assert table.drop_columns("vector").to_pylist() == [
        {
            "key": "text-1",
            "modality": "text",
            "segment_index": 0,
            "start_offset_sec": None,
            "end_offset_sec": None,
            "embedding_option": None,
            "embedding_scope": None,
            "media_duration_sec": None,
            "truncated": False,
        },
        {
            "key": "sound-2.wav",
            "modality": "audio",
            "segment_index": 0,
            "start_offset_sec": 0.0,
            "end_offset_sec": 10.0,
            "embedding_option": "audio",
            "embedding_scope": "clip",
            "media_duration_sec": 30.0,
            "truncated": None,
        },
    ]


def test_values_are_exact(tmp_path: Path) -> None:
    """Every float32 is read bit by bit, also -0.0, subnormal and extreme values."""
    special = [-0.0, 1e-45, -1e-38, 3.4028234663852886e38, -3.4028234663852886e38, 1 / 3, 0.1, 1.0]
    rows = [Row("a", "text", 0, None, None, "", "", None, None, struct.pack("<8f", *special)), *texts(700)]
    table = pq.read_table(write(tmp_path, rows))
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in table["vector"].chunks])
    assert values.astype("<f4").tobytes() == b"".join(row.vector for row in rows)


def test_uncertainty(tmp_path: Path) -> None:
    """Uncertainties are a second column of vectors, NaN in rows without them."""
    rows = [audio(1, 0, has_uncertainty=True), text(3), audio(1, 1, has_uncertainty=True)]
    column = pq.read_table(write(tmp_path, rows, has_uncertainty=True))["uncertainty"]
    first, second, third = (np.array(item.as_py(), "<f4") for item in column)
    assert (first.tobytes(), third.tobytes()) == (vector(1000), vector(1001))
    assert np.isnan(second).all()


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    """A part of more than 2 MiB of vectors has several row groups, each of at most 2 MiB."""
    wide = 4096
    writer("parquet", wide, metadata={}, has_uncertainty=False).write(tmp_path, 0, texts(300, wide))
    metadata = pq.read_metadata(tmp_path / "part-00000.parquet")
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sizes == [128, 128, 44]


def test_encodings(tmp_path: Path) -> None:
    """Columns of few values are dictionaries, facts are compressed and have statistics, vectors are plain."""
    group = pq.read_metadata(write(tmp_path, list(texts(100)))).row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    vectors = columns.pop("vector.list.element")
    assert (vectors.compression, vectors.has_dictionary_page, vectors.is_stats_set) == ("UNCOMPRESSED", False, False)
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert columns["modality"].has_dictionary_page
    assert columns["key"].statistics.min == "text-0"


def test_metadata(tmp_path: Path) -> None:
    """The given metadata are key-value metadata of the file."""
    assert pq.read_schema(write(tmp_path, [text(1)])).metadata == {b"embedwire.model": b"m"}


@pytest.mark.parametrize("count", [1, 2])
def test_folder_is_a_dataset(tmp_path: Path, count: int) -> None:
    """The folder is one dataset for pyarrow, without temporary files that are being written."""
    parts = writer("parquet", DIMENSIONS, metadata={}, has_uncertainty=False)
    for number in range(count):
        parts.write(tmp_path, number, iter([text(number)]))
    (tmp_path / ".part-00009.parquet.part").write_bytes(b"incomplete")
    keys = dataset.dataset(tmp_path, format="parquet").to_table(columns=["key"])["key"].to_pylist()
    assert keys == [f"text-{number}" for number in range(count)]
