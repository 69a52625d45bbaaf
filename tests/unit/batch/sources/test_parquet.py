"""Parquet files as sources: types of columns, keys, missing columns, memory."""

import datetime as dt
import tracemalloc
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from embedwire import Audio, Image, Text
from embedwire.batch.records import Record
from embedwire.batch.sources import Columns, read
from tests.support.media import flac, jpeg, png
from tests.unit.batch.sources.reading import bucket, content, found, written

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def table(folder: Path, name: str = "in.parquet", **columns: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_rows_are_inputs(tmp_path: Path) -> None:
    """Each row has its input in one of the columns; the key is that of the column, else file name and row."""
    written(tmp_path, p__png=png())
    path = table(
        tmp_path,
        key=["a", None, "c", None, "e"],
        text=["a red fox", None, None, None, None],
        image=[None, "p.png", None, "https://example.com/x", None],
        audio=pa.array([None, None, flac(1), None, flac(2)], pa.binary()),
        label=[1, 2, 3, 4, 5],
    )
    result = found(path)

    assert result.faults == {}
    assert result.keys == ["a", "in.parquet:1", "c", "in.parquet:3", "e"]
    assert [type(record.input) for record in result.records.values()] == [Text, Image, Audio, Image, Audio]
    contents = [content(record) for key, record in result.records.items() if key != "in.parquet:3"]
    assert contents == [b"a red fox", png(), flac(1), flac(2)]
    assert read(path).count() == 5


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()])
def test_texts_of_all_types_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    """Texts are strings or encoded as UTF-8; bytes that are not are the fault of their row."""
    values = [b"a red fox", b"\xc3\xa9"] + ([b"caf\xe9"] if pa.types.is_binary(kind) else [])
    array = pa.array(values, pa.binary()).cast(kind)
    result = found(table(tmp_path, text=array))

    assert [content(record) for record in result.records.values()] == [b"a red fox", b"\xc3\xa9"]
    assert list(result.faults.values()) == ["row 2: text: must be valid UTF-8"][: len(values) - 2]


def test_texts_of_a_dictionary_are_read(tmp_path: Path) -> None:
    """A dictionary-encoded column is read like its values."""
    array = pa.array(["x", "y", "x"]).dictionary_encode()

    assert [content(each) for each in found(table(tmp_path, text=array)).records.values()] == [b"x", b"y", b"x"]


def test_files_as_hugging_face_writes_them(tmp_path: Path) -> None:
    """A struct of bytes and path is the content with its file name, else a path; an empty one is a fault."""
    written(tmp_path, p__png=png())
    rows = [{"bytes": jpeg(), "path": "deep/x.jpeg"}, {"bytes": None, "path": "p.png"}, {"bytes": None, "path": None}]
    result = found(table(tmp_path, image=pa.array(rows, STRUCT)))

    first, second = (record.input for record in result.records.values())
    assert isinstance(first, Image)
    assert (first.data, first.file_name) == (jpeg(), "x.jpeg")
    assert isinstance(second, Image)
    assert second.path is not None
    assert list(result.faults.values()) == ["row 2: image: must have bytes or a path"]


KEYS = {
    "int": ([7], "7"),
    "float": ([1.5], "1.5"),
    "bool": ([True], "true"),
    "date": ([dt.date(2026, 11, 30)], "2026-11-30"),
    "time": ([dt.datetime(2026, 11, 30, 1, 2)], "2026-11-30 01:02:00.000000"),  # noqa: DTZ001
    "decimal": ([Decimal("1.20")], "1.20"),
    "bytes": ([b"\xc3\xa9"], "é"),
    "uuid": (pa.array([uuid.UUID(int=5).bytes], pa.binary(16)), "00000000000000000000000000000005"),
    "dictionary": (pa.array(["x"]).dictionary_encode(), "x"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_all_scalar_types_are_texts(tmp_path: Path, kind: str) -> None:
    """A key of any scalar type is converted to a text."""
    values, key = KEYS[kind]

    assert found(table(tmp_path, key=values, text=["x"])).keys == [key]


def test_a_key_that_is_no_scalar_is_a_fault(tmp_path: Path) -> None:
    """A list as a key is the fault of its row."""
    assert found(table(tmp_path, key=[[1]], text=["x"])).faults == {
        "in.parquet:0": "row 0: key: must be one value, not a list or an object"
    }


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (Columns(), "text or image or audio"),
        (Columns(text="Body"), "Body"),
        (Columns(text="body", key="ID"), "ID"),
        (Columns(text="body", audio="sound"), "sound"),
    ],
)
def test_a_missing_column_is_an_error_with_those_that_exist(tmp_path: Path, columns: Columns, missing: str) -> None:
    """A column that was named or is needed and does not exist is an error before anything is read."""
    path = table(tmp_path, id=[1], body=["x"])

    with pytest.raises(ValueError, match=f"in.parquet: has no column {missing}; its columns are id, body"):
        read(path, columns=columns)


def test_a_column_of_another_type_is_an_error(tmp_path: Path) -> None:
    """Inputs of an unsuitable type are one error, not one for each row."""
    with pytest.raises(ValueError, match="column text has type int64; it must be string or binary"):
        read(table(tmp_path, text=[1]))
    with pytest.raises(
        ValueError, match=r"column image has type struct<.*>; it must be string, binary or struct<bytes"
    ):
        read(table(tmp_path, image=[{"url": "x"}]))


def test_a_file_that_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    """A broken file is an error with its name."""
    with pytest.raises(OSError, match=r"in\.parquet: is not a valid Parquet file"):
        read(written(tmp_path, in__parquet=b"no parquet") / "in.parquet")


def test_columns_of_options(tmp_path: Path) -> None:
    """Columns of offsets are options of audio, and other data without it; truncation is one of texts."""
    audio = pa.array([flac(1), flac(1)], pa.binary())
    first, second = found(table(tmp_path, audio=audio, start_offset_sec=[0.5, None])).records.values()
    transcript = found(table(tmp_path, text=["x"], start_offset_sec=[3.2]))
    truncated = found(table(tmp_path, text=["x", "y"], truncate=["start", "middle"]))

    assert isinstance(first.input, Audio)
    assert first.input.start_offset_sec == 0.5
    assert first.version != second.version
    assert transcript.faults == {}
    assert [record.input.truncate for record in truncated.records.values() if isinstance(record.input, Text)] == [
        "start"
    ]
    assert "truncate: must be one of none, start, end" in truncated.faults["in.parquet:1"]


def test_a_repeated_column_is_an_error(tmp_path: Path) -> None:
    """Two columns of the same name are not confused."""
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=r"in\.parquet: has several columns text; rename all but one"):
        read(tmp_path / "in.parquet")


def test_a_damaged_page_is_an_error_with_its_file(tmp_path: Path) -> None:
    """The rows before a page that cannot be decompressed are read; the error names the file."""
    path = table(tmp_path, text=[f"text {number} " * 50 for number in range(100)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    rows = iter(read(path))
    assert isinstance(next(rows), Record)
    with pytest.raises(OSError, match=r"in\.parquet: is not a valid Parquet file"):
        list(rows)


def test_a_folder_of_files_is_one_source(tmp_path: Path) -> None:
    """With the format, all Parquet files of a folder are read in order, and the rows of each count from 0."""
    table(tmp_path / "in", "b/part-1.parquet", text=["x", "y"])
    table(tmp_path / "in", "a.pq", text=["z"])
    written(tmp_path / "in", _SUCCESS=b"", __a__pq__crc=b"")
    source = read(tmp_path / "in", format="parquet")
    result = found(source)

    assert result.keys == ["a.pq:0", "b/part-1.parquet:0", "b/part-1.parquet:1"]
    assert sum(source.ignored.values()) == 1
    assert source.count() == 3


def test_a_later_file_without_the_column_ends_the_iteration(tmp_path: Path) -> None:
    """The columns of each file are checked when it is read; the error names the file."""
    table(tmp_path / "in", "a.parquet", text=["x"])
    table(tmp_path / "in", "b.parquet", body=["y"])
    source = read(tmp_path / "in", format="parquet")

    with pytest.raises(OSError, match=r"b\.parquet: has no column text or image or audio; its columns are body"):
        list(source)


def test_a_count_does_not_change_an_iteration(tmp_path: Path) -> None:
    """A source may be counted while it is read: what it ignores is counted once."""
    table(tmp_path / "in", "b.parquet", text=["x", "y"])
    written(tmp_path / "in", a__gif=b"GIF", z__gif=b"GIF")
    source = read(tmp_path / "in", format="parquet")
    records = iter(source)
    next(records)
    assert source.count() == 2
    list(records)

    assert source.ignored == {".gif": 2}


def test_a_file_in_a_bucket_is_read_from_there(tmp_path: Path) -> None:
    """Parquet in a bucket is read with the files that it names."""
    path = table(tmp_path, image=["d/p.png"])
    url = bucket("parquet", in__parquet=path.read_bytes(), d___p__png=png())
    source = read(f"{url}/in.parquet")

    assert source.count() == 1
    assert content(found(source).records["in.parquet:0"]) == png()


def test_few_rows_are_in_memory(tmp_path: Path) -> None:
    """Large values in one row group are read by pages, a few at a time."""
    image = bytes(1 << 20)
    schema = pa.schema({"image": pa.binary()})
    with pq.ParquetWriter(
        tmp_path / "in.parquet", schema, compression="none", use_dictionary=False, write_batch_size=4
    ) as writer:
        writer.write_table(pa.table({"image": [image] * 64}, schema), row_group_size=64)
    source = read(tmp_path / "in.parquet")
    most, before = 0, pa.total_allocated_bytes()
    tracemalloc.start()
    for record in source:
        assert isinstance(record, Record)
        most = max(most, pa.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert most < 24 << 20
