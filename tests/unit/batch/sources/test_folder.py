"""Folders as sources: order, keys, versions, and files that are no inputs."""

import errno
import os
import resource
from pathlib import Path

import pytest

from embedwire import Audio, Image, Text
from embedwire.batch.records import Record
from embedwire.batch.sources import building, read
from embedwire.batch.sources.files import LINKED_AGAIN, NO_FILE, NO_SUFFIX
from tests.support.media import flac, jpeg, png
from tests.unit.batch.sources.reading import content, found, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(
        tmp_path / "in",
        b__txt="a red fox\n",
        a___z__PNG=png(),
        a___b___s__flac=flac(1),
        c__jpeg=jpeg(),
        **{"a.png": png()},
    )


def test_files_have_their_relative_paths_as_keys_in_order(folder: Path) -> None:
    """The files of a folder and those below it are sorted, and each has the input of its type and its content."""
    result = found(folder)

    assert result.keys == ["a/b/s.flac", "a/z.PNG", "a.png", "b.txt", "c.jpeg"]
    kinds = [type(record.input) for record in result.records.values()]
    assert kinds == [Audio, Image, Image, Text, Image]
    contents = [content(record) for record in result.records.values()]
    assert contents == [flac(1), png(), png(), b"a red fox", jpeg()]
    assert [record.size for record in result.records.values()] == [len(each) for each in contents]


def test_an_iteration_begins_again(folder: Path) -> None:
    """A second iteration yields the same records, with files that were added, and counts what it ignores once."""
    source = read(folder)
    written(folder, notes__pdf="x")
    first = found(source)
    written(folder, d__txt="new")
    second = found(source)

    assert second.keys == [*first.keys, "d.txt"]
    assert [second.records[key].version for key in first.keys] == [record.version for record in first.records.values()]
    assert second.ignored == {".pdf": 1}


def test_a_changed_file_has_another_version(folder: Path) -> None:
    """A file whose size or time of modification changes has another version, and a text one of its content."""
    before = found(folder).records
    os.utime(folder / "c.jpeg", ns=(1, 1))
    os.utime(folder / "b.txt", ns=(1, 1))
    after = found(folder).records

    changed = [key for key, record in after.items() if before[key].version != record.version]
    assert changed == ["c.jpeg"]


def test_checksums_depend_on_the_content_only(folder: Path) -> None:
    """With checksum, equal files have equal versions, and the time of modification does not matter."""
    before = found(folder, checksum=True).records
    os.utime(folder / "c.jpeg", ns=(1, 1))
    after = found(folder, checksum=True).records

    assert {key: record.version for key, record in after.items()} == {key: r.version for key, r in before.items()}
    assert after["a.png"].version == after["a/z.PNG"].version != after["c.jpeg"].version


def test_nothing_is_dropped_silently(folder: Path) -> None:
    """Files of other types are counted by suffix, hidden ones are skipped, and special files are counted."""
    written(folder, __hidden__png=png(), __git___x__png=png(), x__GIF=b"GIF", y__gif=b"GIF", README=b"x")
    os.mkfifo(folder / "pipe.wav")
    source = read(folder)

    assert found(source).keys == ["a/b/s.flac", "a/z.PNG", "a.png", "b.txt", "c.jpeg"]
    assert source.ignored == {".gif": 2, NO_SUFFIX: 1, NO_FILE: 1}
    assert source.count() == 5


FAULTS = {
    "empty.txt": (b"", "text: the file must not be empty"),
    "blank.txt": (b" \n\n", "text: must not be empty"),
    "latin.txt": (b"caf\xe9", "text: must be valid UTF-8"),
    "empty.png": (b"", "image: the file must not be empty"),
    "empty.wav": (b"", "audio: the file must not be empty"),
    "long.txt": (b"x" * (building.MAX_TEXT_BYTES + 1), "text: the file must have at most 16777216 bytes; split it"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_no_input_has_a_message(folder: Path, name: str) -> None:
    """A file that cannot be an input is yielded with a message that names the field; all others are records."""
    data, message = FAULTS[name]
    (folder / name).write_bytes(data)
    result = found(folder)

    assert result.faults == {name: message}
    assert len(result.records) == 5
    assert len(result.keys) == read(folder).count()


def test_a_byte_order_mark_is_no_part_of_a_text(folder: Path) -> None:
    """A text file may begin with a byte order mark, and end with CR LF."""
    written(folder, b__txt=b"\xef\xbb\xbfa red fox\r\n")

    assert content(found(folder).records["b.txt"]) == b"a red fox"


def test_links_are_followed_once(folder: Path) -> None:
    """A link to a folder above ends, a link to a file is a file, and a broken link is the failure of that file."""
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "a" / "again").symlink_to(folder / "a" / "b")
    (folder / "linked.png").symlink_to(folder / "a.png")
    (folder / "broken.png").symlink_to("nowhere")
    (folder / "self.wav").symlink_to("self.wav")
    result = found(folder)

    assert result.keys == [
        *("a/again/s.flac", "a/z.PNG", "a.png", "b.txt", "broken.png", "c.jpeg", "linked.png", "self.wav"),
    ]  # fmt: skip
    assert result.faults == {
        "broken.png": "image: cannot be read: No such file or directory",
        "self.wav": "audio: cannot be read: Too many levels of symbolic links",
    }
    assert result.ignored == {LINKED_AGAIN: 2}


def test_names_that_are_no_keys_are_faults(folder: Path) -> None:
    """A path that is not UTF-8 or longer than a key is a failure with a key that is valid."""
    (folder / os.fsdecode(b"\xff.png")).write_bytes(png())
    deep = folder / "/".join(["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "x.png").write_bytes(png())
    result = found(folder)

    assert len(result.records) == 5
    assert sorted(result.faults.values()) == [
        "key: must be valid UTF-8; rename the file",
        "key: must have at most 1024 bytes of UTF-8, has 1211; rename the file",
    ]
    assert all(0 < len(key.encode()) <= building.MAX_KEY_BYTES for key in result.keys)


def test_patterns_select_files(folder: Path) -> None:
    """Files whose relative path matches no pattern are not counted as ignored."""
    written(folder, x__gif=b"GIF")
    result = found(folder, include=["a/*", "*.txt"])

    assert result.keys == ["a/b/s.flac", "a/z.PNG", "b.txt"]
    assert result.ignored == {}


def test_an_unreadable_folder_is_an_error(folder: Path) -> None:
    """A folder that cannot be listed ends the iteration, and does not hide its files."""
    source = read(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # works for root as well, which reads every folder
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            list(source)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_vanishes_while_a_folder_is_read_is_a_fault(folder: Path) -> None:
    """A file that is deleted after the folder was listed is the failure of its input."""
    records = iter(read(folder))
    first = next(records)
    (folder / "a" / "z.PNG").unlink()
    (folder / "b.txt").unlink()
    rest = [first, *records]

    assert [record.key for record in rest if isinstance(record, Record)] == ["a/b/s.flac", "a.png", "c.jpeg"]
    assert len(rest) == 5


@pytest.mark.parametrize(
    ("location", "error"),
    [("none", FileNotFoundError), ("b.txt/x", NotADirectoryError), ("a.png", ValueError)],
)
def test_a_location_that_is_no_folder_is_an_error(folder: Path, location: str, error: type[Exception]) -> None:
    """A missing folder, and a file of another type, are errors before anything is read."""
    with pytest.raises(error):
        read(folder / location)
    with pytest.raises((OSError, ValueError)):
        read(folder / location, format="folder")
