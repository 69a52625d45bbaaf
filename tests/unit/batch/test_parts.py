"""Parts of all formats: atomic writes, errors of the disk, and removal of what an ended process has left."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedwire.batch.parts import PartWriter, Row, found, size, writer
from tests.unit.batch.rows import DIMENSIONS, audio, text, texts

FORMATS = ["parquet", "npy"]


@pytest.fixture(params=FORMATS)
def parts(request: pytest.FixtureRequest) -> PartWriter:
    return writer(request.param, DIMENSIONS, metadata={}, has_uncertainty=True)


def test_unknown_format() -> None:
    """An unknown format is an error that names the formats."""
    with pytest.raises(ValueError, match=r"format: must be 'parquet' or 'npy', got 'csv'"):
        writer("csv", DIMENSIONS, metadata={}, has_uncertainty=False)


def test_only_complete_files_have_the_name_of_a_part(parts: PartWriter, tmp_path: Path) -> None:
    """While a part is written, only hidden files are in the folder; then only its files."""
    seen: set[str] = set()

    def rows() -> Iterator[Row]:
        for row in texts(3):
            seen.update(os.listdir(tmp_path))
            yield row

    parts.write(tmp_path, 0, rows())
    assert seen
    assert all(name.startswith(".") for name in seen)
    assert f"part-00000{parts.suffix}" in os.listdir(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_failed_part_keeps_the_old_one(parts: PartWriter, tmp_path: Path) -> None:
    """After an exception of the rows, the earlier part of the number is unchanged, and no temporary file is left."""
    parts.write(tmp_path, 0, texts(3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def rows() -> Iterator[Row]:
        yield text(7)
        raise KeyError("row")

    with pytest.raises(KeyError):
        parts.write(tmp_path, 0, rows())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_part_replaces_one_of_its_number(parts: PartWriter, tmp_path: Path) -> None:
    """A part that is written again replaces the files of the first attempt."""
    parts.write(tmp_path, 0, texts(3))
    names = sorted(os.listdir(tmp_path))
    size = (tmp_path / f"part-00000{parts.suffix}").stat().st_size
    parts.write(tmp_path, 0, texts(300))
    assert sorted(os.listdir(tmp_path)) == names
    assert (tmp_path / f"part-00000{parts.suffix}").stat().st_size > size


@pytest.mark.parametrize("count", [1, 5_000])
def test_full_disk(parts: PartWriter, tmp_path: Path, count: int) -> None:
    """ENOSPC of the kernel, at the first or the last byte, is an OSError with the name of the part."""
    part = tmp_path / f"part-00000{parts.suffix}"
    (tmp_path / f".{part.name}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as raised:
        parts.write(tmp_path, 0, texts(count))
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(part)
    assert not part.exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_missing_folder(parts: PartWriter, tmp_path: Path) -> None:
    """A folder that is missing is a FileNotFoundError with the name of a file in it."""
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "missing" / "part-00000"))):
        parts.write(tmp_path / "missing", 0, texts(1))


def test_error_of_the_rows_keeps_its_file_name(parts: PartWriter, tmp_path: Path) -> None:
    """An OSError of the rows about another file keeps that name."""

    def rows() -> Iterator[Row]:
        yield text(0)
        raise PermissionError(errno.EACCES, "Permission denied", "ledger")

    with pytest.raises(PermissionError) as raised:
        parts.write(tmp_path, 0, rows())
    assert raised.value.filename == "ledger"


@pytest.mark.parametrize("dimensions", [DIMENSIONS - 1, DIMENSIONS * 2])
def test_other_dimensions(parts: PartWriter, tmp_path: Path, dimensions: int) -> None:
    """A vector of other dimensions is an error, also if the total of all bytes would fit."""
    rows = [text(0, dimensions), text(1, 2 * DIMENSIONS - dimensions or 1)]
    with pytest.raises(ValueError, match=f"has {dimensions} dimensions, but this output has {DIMENSIONS}"):
        parts.write(tmp_path, 0, iter(rows))
    assert os.listdir(tmp_path) == []


def test_found(parts: PartWriter, tmp_path: Path) -> None:
    """The files of parts are found by number, also temporary ones; files of the user are not."""
    parts.write(tmp_path, 0, iter([audio(1, 0)]))
    parts.write(tmp_path, 1, iter([audio(2, 0)]))
    own = set(os.listdir(tmp_path))
    for name in ("notes.txt", "part-of-me.parquet", f".part-00000{parts.suffix}.part", ".uncertainty-00002.npy.part"):
        (tmp_path / name).touch()
    files = found(tmp_path)
    assert {file.path.name for file in files if not file.is_temporary} == own
    assert {file.number for file in files if file.is_temporary} == {0, 2}
    assert size(tmp_path, 1) == sum((tmp_path / name).stat().st_size for name in own if "00001" in name)
