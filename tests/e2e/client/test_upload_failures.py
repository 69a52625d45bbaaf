"""Uploads that fail: sources that raise, are missing, empty or invalid."""

import asyncio
import contextlib
import functools
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwire import Audio, Client, Image, RequestError, Text
from tests.e2e.client.callers import Connect, taken
from tests.e2e.client.services import Recorder
from tests.e2e.client.uploads import LARGE, MIB, Source, source, written
from tests.support.serving import Serve, Served, until


def failing(kind: str, tmp_path: Path) -> tuple[list[Any], type[BaseException]]:
    """Inputs of which one fails while it is sent, and the exception that it raises."""
    if kind == "middle":
        return [Audio(file=source(bytes(4 * MIB), fails_after=MIB))], OSError
    if kind == "start":
        return [Audio(file=source(b"a", fails_after=0))], OSError
    if kind == "vanished":
        path = written(tmp_path / "gone.mp3", bytes(2 * MIB))

        def first() -> Iterator[bytes]:
            yield bytes(10)
            path.unlink()

        return [Audio(chunks=first()), Audio(path=path)], FileNotFoundError
    if kind == "text":
        return [Audio(chunks=[b"abc", "text"])], TypeError  # type: ignore[list-item]
    if kind == "text mode":
        disguised: Any = type("Reader", (), {"read": io.StringIO("text").read})()
        return [Audio(file=disguised)], TypeError

    def own() -> Iterator[bytes]:
        yield bytes(MIB)
        raise LookupError("mine")

    return [Audio(chunks=own())], LookupError


@pytest.mark.parametrize("kind", ["middle", "start", "vanished", "text", "text mode", "own"])
async def test_an_exception_of_a_file_is_raised_unchanged(
    connect: Connect, serve: Serve, tmp_path: Path, kind: str
) -> None:
    """An exception of a source is raised unchanged, the server sees broken framing, and nothing hangs."""
    others = [Text("a"), Audio(data=bytes(2 * MIB))]
    async with serve() as served, connect(served.app.target) as client:
        for count, more in enumerate(([], others), start=1):
            asked, expected = failing(kind, tmp_path)
            with pytest.raises(expected) as caught:
                await asyncio.wait_for(client.embed("marengo3.0", asked + more, timeout=30), 15)
            if kind in ("middle", "start"):
                assert "the disk is gone" in str(caught.value)
            await until(functools.partial(has_failed, served, count))
        again = await client.embed("marengo3.0", Text("a"), timeout=10)

    assert again.failure is None


def has_failed(served: Served, times: int) -> bool:
    return served.metric("embedwire_requests_total", reason="INVALID_UPLOAD_FRAMING") == times


async def test_an_invalid_path(connect: Connect, tmp_path: Path) -> None:
    """A missing path and a directory are an OSError before anything is sent."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for path, expected in [(tmp_path / "missing", FileNotFoundError), (tmp_path, IsADirectoryError)]:
            with pytest.raises(expected) as caught:
                await client.embed("m", [Text("a"), Image(path=path)], timeout=10)
            assert str(tmp_path) in str(caught.value)
            with pytest.raises(expected):
                await taken(await client.stream("m", Image(path=path), timeout=10))
    assert recorder.requests == []


EMPTY: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "bytes": (lambda: {"data": b""}, "INVALID_REQUEST"),
    "file": (lambda: {"file": io.BytesIO()}, "INVALID_REQUEST"),
    "beyond its end": (lambda: {"file": beyond_its_end()}, "INVALID_REQUEST"),
    "chunks": (lambda: {"chunks": []}, "UPLOAD_MISMATCH"),
    "empty chunks": (lambda: {"chunks": [b"", b""]}, "UPLOAD_MISMATCH"),
    "unseekable": (lambda: {"file": source(b"")}, "UPLOAD_MISMATCH"),
}


def beyond_its_end() -> io.BytesIO:
    file = io.BytesIO(b"abc")
    file.seek(10)
    return file


async def test_an_empty_file_is_refused_by_the_server(connect: Connect, served: Served) -> None:
    """An empty source of any kind is a RequestError of the server."""
    async with connect(served.app.target) as client:
        for source, (make, reason) in EMPTY.items():
            with pytest.raises(RequestError) as caught:
                await client.embed("marengo3.0", Image(**make()), timeout=10)
            assert caught.value.reason == reason, source
            assert caught.value.violations[0].field.startswith(("inputs[0].image", "request.inputs[0].image"))


@pytest.mark.parametrize("size", [100, 6 * MIB])
async def test_an_invalid_request_is_reported_while_a_file_is_sent(connect: Connect, served: Served, size: int) -> None:
    """A rejected request is RequestError INVALID_REQUEST also while a file is being sent."""
    async with connect(served.app.target) as client:
        for _ in range(3):
            with pytest.raises(RequestError) as caught:
                await client.embed("no such model", Audio(file=source(bytes(size))), timeout=20)
            assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
            assert [violation.field for violation in caught.value.violations] == ["request.model_name"]


@pytest.mark.parametrize("size", [0, -1])
async def test_an_invalid_chunk_size_is_refused(connect: Connect, size: int) -> None:
    """chunk_bytes below 1 is a ValueError that names it, before anything is sent."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for given in ({"data": LARGE}, {"file": io.BytesIO(LARGE)}, {"chunks": [b"abc"]}):
            with pytest.raises(ValueError, match="chunk_bytes"):
                await client.embed("m", Audio(**given), timeout=10, chunk_bytes=size)
    assert recorder.requests == []


class NotReady(Source):
    """A non-blocking file: read() returns None if no data is available, which is not the end of the file."""

    def read(self, size: int = -1) -> bytes:
        self.taken += 1
        return [b"first", None, b"second", b""][self.taken - 1] if size else b""  # type: ignore[return-value]


async def test_a_non_blocking_file_is_not_truncated(connect: Connect) -> None:
    """A file whose read() returns None is an error or is read on; its first part is not sent as the whole."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        with contextlib.suppress(OSError, TypeError):
            await client.embed("m", Image(file=NotReady(b"")), timeout=10)  # type: ignore[arg-type]
    whole = hashlib.sha256(b"firstsecond").digest()
    assert [file.hash.digest() for file in recorder.files if file.is_complete] in ([], [whole])


class Growing(io.BytesIO):
    """A file that reports a smaller size than it has."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return 10 if whence else super().seek(offset)


async def test_a_file_that_grows_is_an_error(connect: Connect) -> None:
    """A file that yields more bytes than its measured size is an OSError, not an ever larger message."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        with pytest.raises(OSError, match="grown"):
            await client.embed("m", Image(file=Growing(bytes(1000))))

    assert not recorder.requests


def ending() -> Iterator[bytes]:
    yield b"some"
    raise SystemExit(3)


async def test_a_base_exception_of_a_source_is_raised(served: Served) -> None:
    """A BaseException of a source ends the call immediately, and is not lost in gRPC's thread."""

    def call() -> None:
        with Client(served.app.target) as client:
            client.embed("marengo3.0", Image(chunks=ending()), timeout=20)

    began = time.monotonic()
    with pytest.raises(SystemExit):
        await asyncio.to_thread(call)
    assert time.monotonic() - began < 10
