"""Lists of files as sources: paths and URLs of all kinds, and lines that are no inputs."""

import io
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from embedwire import Audio, Image
from embedwire.batch.sources import read
from tests.support.media import flac, jpeg, png
from tests.unit.batch.sources.reading import bucket, content, found, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "in", a__txt="a red fox", sub___b__png=png(), sub___s__flac=flac(1))


def test_lines_are_paths_and_urls(folder: Path, tmp_path: Path) -> None:
    """Relative paths count from the folder of the list; a line is the key of its file."""
    elsewhere = written(tmp_path / "other", c__jpeg=jpeg()) / "c.jpeg"
    url = bucket("list-urls", x__png=png(64, 64))
    lines = ["a.txt", "", "sub/b.png", str(elsewhere), f"file://{elsewhere}", f"{url}/x.png", "sub/../sub/s.flac"]
    result = found(written(folder, list__txt="\r\n".join(lines)) / "list.txt")

    assert result.keys == [line for line in lines if line]
    contents = [content(record) for record in result.records.values()]
    assert contents == [b"a red fox", png(), jpeg(), jpeg(), png(64, 64), flac(1)]


def test_urls_are_fetched_by_the_upstream(folder: Path) -> None:
    """An http or https URL is passed as it is; the type of its path decides on the modality."""
    lines = [
        "https://example.com/a.MP3?v=1",
        "HTTP://example.com/b.png#x",
        "https://example.com/c.txt",
        "http://[x.png",
    ]
    result = found(written(folder, list__txt="\n".join(lines)) / "list.txt")

    inputs = [record.input for record in result.records.values()]
    assert [type(each) for each in inputs] == [Audio, Image]
    assert [each.url for each in inputs if isinstance(each, Audio | Image)] == lines[:2]
    assert result.faults[lines[2]].startswith("line 3: text: the upstream fetches images and audio only")
    assert result.faults[lines[3]].startswith("line 4: the name must end with one of")


def test_lines_that_are_no_inputs_have_messages(folder: Path) -> None:
    """Each faulty line is yielded with its number and without its content; nothing is dropped."""
    long = "x" * 1100 + ".png"
    lines = ["a.pdf", "none.png", "sub", "secret://x/y.png", long, "a\0.png", "a.txt/b.png", "b.png"]
    path = written(folder, list__txt="\n".join(lines).encode() + b"\n\xff.png\n") / "list.txt"
    result = found(path)

    assert result.records == {}
    assert read(path).count() == len(result.faults) == 9
    messages = "\n".join(result.faults.values())
    assert [f"line {number}: " in messages for number in range(1, 10)] == [True] * 9
    assert "secret" not in messages
    assert "xxx" not in messages
    assert result.faults["none.png"] == "line 2: image: cannot be read: No such file or directory"
    assert result.faults["line 5"] == "line 5: key: must have at most 1024 bytes of UTF-8, has 1104"
    assert result.faults["line 9"] == "line 9: key: must be valid UTF-8"


def test_a_list_in_a_bucket_names_files_beside_it() -> None:
    """Relative paths count from the folder of the list in the bucket; paths of the local computer are rejected."""
    lines = "d/a.png\n/etc/hostname.txt\n../x.png\nfile:///etc/hostname.txt\n"
    result = found(bucket("list-remote/deep", d___a__png=png(), l__txt=lines) + "/l.txt")

    assert list(result.records) == ["d/a.png"]
    assert content(result.records["d/a.png"]) == png()
    assert len(result.faults) == 3
    assert all("a list in a bucket can name URLs" in message for message in result.faults.values())


def test_a_very_long_line_is_a_fault_in_bounded_memory(folder: Path) -> None:
    """A line that is longer than any path does not end the list, and the lines after it keep their numbers."""
    path = folder / "list.txt"
    with path.open("wb") as file:
        file.write(b"a.txt\n")
        for _ in range(20):
            file.write(b"y" * (1 << 20))
        file.write(b"\nnone.png\n")
    result = found(path)

    assert result.keys == ["a.txt", "line 2", "none.png"]
    assert result.faults["none.png"].startswith("line 3: ")


def test_a_missing_package_ends_the_run(folder: Path) -> None:
    """A line whose kind of URL needs a package that is not installed is not the fault of that input."""
    path = written(folder, list__txt="smb://server/share/a.png\n") / "list.txt"

    with pytest.raises(OSError, match=r"smb:// needs a package that is not installed: pip install 'fsspec\[smb\]'"):
        found(path)


@pytest.fixture
def stdin() -> Generator[io.FileIO]:
    """Standard input from a pipe; the test writes its other end."""
    reading, writing = os.pipe()
    saved = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    with io.FileIO(writing, "wb") as file:
        yield file
    os.dup2(saved, 0)
    os.close(saved)


def test_standard_input_is_read_once(stdin: io.FileIO, folder: Path) -> None:
    """A list from standard input has no count, and a second iteration is an error, not an empty source."""
    stdin.write(f"{folder / 'a.txt'}\n".encode())
    stdin.close()
    source = read("-", format="list")

    assert source.count() is None
    assert found(source).keys == [str(folder / "a.txt")]
    with pytest.raises(OSError, match="standard input can be read once"):
        list(source)


def test_lines_of_standard_input_arrive_as_they_are_written(stdin: io.FileIO) -> None:
    """A line is yielded before the next one is written."""
    records = iter(read("-", format="jsonl"))
    stdin.write(b'{"text": "a", "key": "1"}\n')
    assert next(records).key == "1"
    stdin.write(b'{"text": "b"}\n')
    assert next(records).key == "-:1"


@pytest.mark.parametrize("chosen", [None, "folder", "parquet"])
def test_standard_input_needs_a_format_of_lines(chosen: None) -> None:
    """Standard input without a format, or with one that is no stream of lines, is an error."""
    with pytest.raises(ValueError, match="standard input can be a list or jsonl"):
        read("-", format=chosen)
