"""Sources of files of all kinds, and the calls that the server counts."""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedwire.inputs import RepeatableChunks
from tests.support.serving import Served

MIB = 1 << 20
UPLOAD, MESSAGE, UNARY = "CreateEmbeddingFromUpload", "CreateEmbedding", "CreateEmbeddingUnary"
SMALL, LARGE = os.urandom(70_000), os.urandom(MIB + 12_345)


class Source(io.RawIOBase):
    """A binary file that is not seekable, like a pipe; counts what is read, and can fail midway."""

    def __init__(self, content: bytes, fails_after: int | None = None) -> None:
        super().__init__()
        self._content = io.BytesIO(content)
        self._fails_after = fails_after
        self.taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._fails_after is not None and self.taken >= self._fails_after:
            raise OSError(5, "the disk is gone")
        chunk = self._content.read(size)
        self.taken += len(chunk)
        return chunk


def source(content: bytes, fails_after: int | None = None) -> Any:
    return Source(content, fails_after)  # implements BinaryIO without declaring it


def from_pipe(data: bytes) -> Any:
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write).start()
    return os.fdopen(reading, "rb")


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def named_pipe(path: Path, data: bytes) -> Path:
    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(data)

    os.mkfifo(path)
    threading.Thread(target=write).start()
    return path


def standing(path: Path, data: bytes) -> Any:
    """A file whose position is behind some bytes that must not be sent."""
    file = written(path, b"skip me" + data).open("rb")
    file.seek(len(b"skip me"))
    return file


def in_pieces(data: bytes, size: int = 50_001) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


class Repeatable(RepeatableChunks):
    """Chunks of a known size that begin again with each iteration."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        return in_pieces(self._content)


SOURCES: dict[str, Callable[[Path, bytes], dict[str, Any]]] = {
    "path": lambda path, data: {"path": written(path, data)},
    "string": lambda path, data: {"path": str(written(path, data))},
    "bytes": lambda _, data: {"data": data},
    "bytearray": lambda _, data: {"data": bytearray(data)},
    "memoryview": lambda _, data: {"data": memoryview(data)},
    "memoryview of numbers": lambda _, data: {"data": memoryview(data + bytes(-len(data) % 4)).cast("I")},
    "file": lambda path, data: {"file": standing(path, data)},
    "file in memory": lambda _, data: {"file": io.BytesIO(data)},
    "unseekable file": lambda _, data: {"file": source(data)},
    "pipe": lambda _, data: {"file": from_pipe(data)},
    "named pipe": lambda path, data: {"path": named_pipe(path, data)},
    "list": lambda _, data: {"chunks": list(in_pieces(data))},
    "generator": lambda _, data: {"chunks": in_pieces(data)},
    "chunks of other types": lambda _, data: {"chunks": [bytearray(data[:9]), b"", memoryview(data)[9:], b""]},
    "chunks of a known size": lambda _, data: {"chunks": Repeatable(data)},
    "one large chunk": lambda _, data: {"chunks": [data]},
}
UNKNOWN_SIZE = {
    "unseekable file", "pipe", "named pipe", "list", "generator", "chunks of other types", "one large chunk",
}  # fmt: skip


def calls(served: Served) -> dict[str, float]:
    methods = (UPLOAD, MESSAGE, UNARY)
    return {name: count for name in methods if (count := served.metric("grpc_server_started_total", grpc_method=name))}
