"""The file of failed inputs."""

import errno
import json
from pathlib import Path

import pytest

from embedwire.batch.failures_file import FailedInput, write
from embedwire.errors import FieldViolation

BROKEN = FailedInput(
    "a/b.jpg",
    "image",
    "INPUT_REJECTED",
    "INVALID_ARGUMENT",
    "the image is too small",
    (FieldViolation("image", "must have at least 128 x 128 pixels"),),
    attempts=1,
    request_id="r1",
    upstream_task_id="t1",
)


def test_lines(tmp_path: Path) -> None:
    """Each failure is one JSON object with all attributes."""
    path = tmp_path / "failures.jsonl"
    write(
        path, [BROKEN, FailedInput("list.jsonl:7", None, "INVALID_RECORD", "", "line 8: not JSON", is_temporary=True)]
    )
    first, second = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert first == {
        "key": "a/b.jpg",
        "modality": "image",
        "reason": "INPUT_REJECTED",
        "code": "INVALID_ARGUMENT",
        "message": "the image is too small",
        "fields": [{"field": "image", "description": "must have at least 128 x 128 pixels"}],
        "attempts": 1,
        "request_id": "r1",
        "upstream_task_id": "t1",
        "is_temporary": False,
    }
    assert (second["modality"], second["is_temporary"]) == (None, True)


def test_file_is_replaced(tmp_path: Path) -> None:
    """A later write without failures leaves an empty file, and no temporary one."""
    path = tmp_path / "failures.jsonl"
    write(path, [BROKEN])
    write(path, [])
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("failures.jsonl", b"")]


def test_key_that_is_not_utf8(tmp_path: Path) -> None:
    """A file name that is not UTF-8, which no server accepts, is in the file, and the file is UTF-8."""
    path = tmp_path / "failures.jsonl"
    key = b"caf\xe9.txt".decode(errors="surrogateescape")
    write(path, [FailedInput(key, "text", "INVALID_REQUEST", "INVALID_ARGUMENT", "key: is not UTF-8")])
    assert json.loads(path.read_text("utf-8"))["key"] == key


def test_full_disk(tmp_path: Path) -> None:
    """A full disk is an OSError with the name of the file; the earlier file is kept."""
    path = tmp_path / "failures.jsonl"
    write(path, [BROKEN])
    (tmp_path / ".failures.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        write(path, [BROKEN, BROKEN])
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert len(path.read_text().splitlines()) == 1
