"""What sources yield, in a form that tests compare."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import fsspec

from embedwire import Audio, Image, Text, files
from embedwire.batch.records import InvalidRecord, Record, Source
from embedwire.batch.sources import read


@dataclasses.dataclass
class Found:
    """The records of one iteration by key, in order, and the messages of the invalid ones."""

    records: dict[str, Record]
    faults: dict[str, str]
    keys: list[str]
    ignored: dict[str, int]


def found(location: str | os.PathLike[str] | Source, **options: Any) -> Found:
    source = read(location, **options) if isinstance(location, str | os.PathLike) else location
    every = list(source)
    return Found(
        {each.key: each for each in every if isinstance(each, Record)},
        {each.key: each.message for each in every if isinstance(each, InvalidRecord)},
        [each.key for each in every],
        dict(source.ignored),
    )


def content(record: Record) -> bytes:
    """The bytes that the client would send."""
    if isinstance(record.input, Text):
        return record.input.value.encode()
    assert isinstance(record.input, Image | Audio)
    return b"".join(files.read(record.input, 1 << 16))


def written(folder: Path, **contents: bytes | str) -> Path:
    """Write files; "__" in a name stands for ".", and "___" for "/"."""
    for name, data in contents.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def bucket(name: str, **contents: bytes | str) -> str:
    """Write files into a bucket in memory, and return its URL."""
    memory = fsspec.filesystem("memory")
    for path, data in contents.items():
        target = f"/{name}/{path.replace('___', '/').replace('__', '.')}"
        memory.pipe(target, data.encode() if isinstance(data, str) else data)
    return f"memory://{name}"
