"""JSON lines as sources: fields, keys, options, and lines that are no inputs."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedwire import Audio, Image, Text
from embedwire.batch.sources import Columns, read
from tests.support.media import flac, png
from tests.unit.batch.sources.reading import Found, bucket, content, found, written


def of_lines(folder: Path, *lines: Any, **options: Any) -> Found:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return found(written(folder, in__jsonl=text) / "in.jsonl", **options)


def test_objects_are_inputs(tmp_path: Path) -> None:
    """A text is in the line, images and audio are paths or URLs; the key is that of the line, else its position."""
    written(tmp_path, d___a__bin=png(), s__x=flac(1))
    result = of_lines(
        tmp_path,
        {"key": "t", "text": "a red fox"},
        "",
        {"image": "d/a.bin", "other": 1, "text": None},
        {"key": 7, "audio": "s.x"},
        {"key": "u", "audio": "https://example.com/stream"},
    )

    assert result.faults == {}
    assert result.keys == ["t", "in.jsonl:2", "7", "u"]
    assert [type(record.input) for record in result.records.values()] == [Text, Image, Audio, Audio]
    assert [content(record) for record in list(result.records.values())[:3]] == [b"a red fox", png(), flac(1)]
    assert read(tmp_path / "in.jsonl").count() == 4


def test_options_belong_to_the_input_and_its_version(tmp_path: Path) -> None:
    """Offsets and truncation are passed to the input, and another value is another version."""
    written(tmp_path, s__wav=flac(1))
    lines = [
        {"key": "a", "audio": "s.wav", "start_offset_sec": 1, "end_offset_sec": 2.5},
        {"key": "b", "audio": "s.wav", "start_offset_sec": 2},
        {"key": "c", "audio": "s.wav"},
        {"key": "d", "text": "x", "truncate": "start"},
        {"key": "e", "text": "x"},
    ]
    records = of_lines(tmp_path, *lines).records

    audio, text = records["a"].input, records["d"].input
    assert isinstance(audio, Audio)
    assert (audio.start_offset_sec, audio.end_offset_sec) == (1, 2.5)
    assert isinstance(text, Text)
    assert text.truncate == "start"
    assert len({record.version for record in records.values()}) == 5


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    """Columns names the fields; other fields are not inputs then."""
    line = {"id": "k", "body": "a red fox", "text": "not this"}
    result = of_lines(tmp_path, line, columns=Columns(key="id", text="body"))

    assert content(result.records["k"]) == b"a red fox"


SECRET = "a-private-string"
FAULTS: dict[str, tuple[Any, str]] = {
    "not JSON": (f'{{"text": "{SECRET}"', "line 2: must be a JSON object (column 28)"),
    "two objects": ('{"text": "a"} {"text": "b"}', "line 2: must be a JSON object (column 15)"),
    "a list": ([SECRET], "line 2: must be a JSON object, not another value"),
    "no input": ({"txt": SECRET}, "line 2: must have exactly one of text, image, audio; has none"),
    "two inputs": (
        {"text": SECRET, "audio": "x"},
        "line 2: must have exactly one of text, image, audio; has text and audio",
    ),
    "an empty text": ({"text": ""}, "line 2: text: must not be empty"),
    "a blank text": ({"text": " \n"}, "line 2: text: must not be empty"),
    "a number": ({"text": 3}, "line 2: text: must be a string, got int"),
    "a surrogate": ('{"text": "\\ud800"}', "line 2: text: must be valid UTF-8"),
    "an empty path": ({"image": ""}, "line 2: image: must not be empty"),
    "a missing file": ({"image": SECRET}, "line 2: image: cannot be read: No such file or directory"),
    "a folder": ({"image": "."}, "line 2: image: must be a regular file"),
    "a NUL": ({"image": f"{SECRET}\0"}, "line 2: image: must be a path or a URL"),
    "bytes in JSON": (
        {"image": {"bytes": SECRET}},
        "line 2: image: the field bytes must be binary; JSON lines have a path or URL",
    ),
    "an unknown URL": ({"image": f"{SECRET}://a"}, "line 2: image: fsspec does not know this kind of URL"),
    "an empty key": ({"key": "", "text": "a"}, "line 2: key: must not be empty"),
    "a long key": ({"key": "k" * 1025, "text": "a"}, "line 2: key: must have at most 1024 bytes of UTF-8, has 1025"),
    "a key with a surrogate": ('{"key": "\\ud800", "text": "a"}', "line 2: key: must be valid UTF-8"),
    "a list as key": ({"key": [SECRET], "text": "a"}, "line 2: key: must be one value, not a list or an object"),
    "an offset of a text": ({"text": "a", "start_offset_sec": 1}, "line 2: start_offset_sec: text has no such option"),
    "an offset in words": (
        {"audio": "a", "end_offset_sec": SECRET},
        "line 2: end_offset_sec: must be a number of seconds",
    ),
    "an offset of true": (
        {"audio": "a", "end_offset_sec": True},
        "line 2: end_offset_sec: must be a number of seconds",
    ),
    "a truncation": ({"text": "a", "truncate": SECRET}, "line 2: truncate: must be one of none, start, end"),
    "much nesting": ("[" * 100_000, "line 2: must be a JSON object"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_line_that_is_no_input_has_a_message(tmp_path: Path, name: str) -> None:
    """A faulty line is yielded with its number, its field and what is allowed, without content; others are records."""
    line, message = FAULTS[name]
    result = of_lines(tmp_path, {"text": "first"}, line, {"text": "last"})

    assert list(result.faults.values()) == [message]
    assert SECRET not in message
    assert list(result.records) == ["in.jsonl:0", "in.jsonl:2"]


def test_a_line_that_is_not_utf8_is_a_fault(tmp_path: Path) -> None:
    """A line with other bytes than UTF-8 is the failure of that line; a byte order mark is allowed."""
    path = written(tmp_path, in__jsonl=b'\xef\xbb\xbf{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "b"}') / "in.jsonl"
    result = found(path)

    assert result.faults == {"in.jsonl:1": "line 2: must be valid UTF-8"}
    assert list(result.records) == ["in.jsonl:0", "in.jsonl:2"]


def test_a_faulty_line_keeps_its_key(tmp_path: Path) -> None:
    """The failure of a line with a valid key has that key."""
    assert of_lines(tmp_path, {"key": "mine", "text": ""}).faults == {"mine": "line 1: text: must not be empty"}


def test_a_folder_of_files_is_one_source(tmp_path: Path) -> None:
    """With the format, all files of a folder are read; paths count from the folder of each file."""
    written(tmp_path, a___1__jsonl='{"text": "x"}\n', b___2__ndjson='{"image": "p"}\n', b___p=png(), _SUCCESS=b"")
    source = read(tmp_path, format="jsonl")
    result = found(source)

    assert result.keys == ["a/1.jsonl:0", "b/2.ndjson:0"]
    assert content(result.records["b/2.ndjson:0"]) == png()
    assert source.count() == 2
    assert sum(source.ignored.values()) == 2


def test_a_file_in_a_bucket_names_files_beside_it() -> None:
    """JSON lines in a bucket are read from there, with the files that they name; they are not counted in advance."""
    url = bucket("json-lines", in__jsonl='{"key": "a", "image": "d/p"}\n', d___p=png())
    source = read(f"{url}/in.jsonl")

    assert content(found(source).records["a"]) == png()
    assert source.count() is None
