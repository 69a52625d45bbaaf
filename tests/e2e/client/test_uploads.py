"""Uploads from all kinds of sources: which files are uploaded, that all bytes arrive, and failing sources."""

import asyncio
import contextlib
import functools
import hashlib
import io
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwire import AsyncClient, Audio, Client, Image, RequestError, Result, Text
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from tests.e2e.client.callers import Connect, taken
from tests.e2e.client.services import Context, Recorder, result, service
from tests.support import media
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.upstreams import Visit, reply

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
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write).start()
    return os.fdopen(reading, "rb")


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def named_pipe(path: Path, data: bytes) -> Path:
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=[data]).start()
    return path


def standing(path: Path, data: bytes) -> Any:
    """A file whose position is behind some bytes that must not be sent."""
    file = written(path, b"skip me" + data).open("rb")
    file.seek(len(b"skip me"))
    return file


def in_pieces(data: bytes, size: int = 50_001) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


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
    "one large chunk": lambda _, data: {"chunks": [data]},
}
UNKNOWN_SIZE = {
    "unseekable file", "pipe", "named pipe", "list", "generator", "chunks of other types", "one large chunk",
}  # fmt: skip


def part(visit: Visit) -> tuple[str, bytes]:
    """The headers and the content of the file in a multipart body."""
    boundary = visit.headers["content-type"].partition("boundary=")[2].strip('"')
    for piece in visit.body.split(f"--{boundary}\r\n".encode())[1:]:
        head, _, rest = piece.partition(b"\r\n\r\n")
        if b"filename" in head:
            return head.decode(), rest[: rest.rindex(b"\r\n--" if rest.rstrip().endswith(b"--") else b"\r\n")]
    raise AssertionError("there is no file")


def calls(served: Served) -> dict[str, float]:
    methods = (UPLOAD, MESSAGE, UNARY)
    return {name: count for name in methods if (count := served.metric("grpc_server_started_total", grpc_method=name))}


async def good(visit: Visit) -> None:
    await visit.answer(reply("image_embedding"))


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_every_byte_arrives(connect: Connect, scripted: Scripted, tmp_path: Path, data: bytes) -> None:
    """The upstream gets exactly the bytes, name and type of every kind of source, by the matching RPC."""
    expected_calls = {UPLOAD: 0, MESSAGE: 0}
    async with scripted(good) as (served, upstream), connect(served.app.target) as client:
        for number, (source, make) in enumerate(SOURCES.items()):
            directory = tmp_path / str(number)
            directory.mkdir()
            given = make(directory / "picture.png", data)
            embedding = await client.embed("marengo3.0", Image(**given), timeout=20)
            head, arrived = part(upstream.visits[-1])
            sent = data + bytes(-len(data) % 4) if source == "memoryview of numbers" else data

            assert embedding.failure is None, source
            assert hashlib.sha256(arrived).digest() == hashlib.sha256(sent).digest(), source
            expected_calls[UPLOAD if data is LARGE or source in UNKNOWN_SIZE else MESSAGE] += 1
            assert calls(served) == {name: count for name, count in expected_calls.items() if count}, source
            named = source in ("path", "string", "file", "named pipe")
            assert ('filename="picture.png"' in head, "Content-Type: image/png" in head) == (named, named), source
            if "file" in given:
                assert not given["file"].closed, source
                given["file"].close()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_an_async_iterable_is_uploaded(scripted: Scripted, data: bytes) -> None:
    """AsyncClient uploads the chunks of an async iterable, of any size."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in in_pieces(data, 700_000):
            yield piece
            await asyncio.sleep(0)

    async with scripted(good) as (served, upstream), AsyncClient(served.app.target) as client:
        await client.embed("marengo3.0", Image(chunks=chunks()), timeout=20)
        assert part(upstream.visits[0])[1] == data
        assert calls(served) == {UPLOAD: 1}


async def test_client_refuses_an_async_iterable(served: Served) -> None:
    """Client refuses an async iterable with a TypeError that names AsyncClient."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"

    with Client(served.app.target) as client, pytest.raises(TypeError, match="AsyncClient"):
        await asyncio.to_thread(client.embed, "marengo3.0", Image(chunks=chunks()), timeout=10)


LIMITS: dict[str, tuple[list[int], list[int]]] = {
    "at the limit": ([MIB], []),
    "above it": ([MIB + 1], [0]),
    "together at the limit": ([MIB - 10, 10], []),
    "together above it": ([MIB - 10, 11], [1]),
    "the second does not fit, the third does": ([600_000, 600_000, 400_000], [1]),
    "the first does not fit": ([2 * MIB, 10], [0]),
    "many": ([300_000] * 6, [3, 4, 5]),
}


@pytest.mark.parametrize(("sizes", "uploaded"), LIMITS.values(), ids=LIMITS)
async def test_files_up_to_one_mebibyte_are_in_the_request(
    connect: Connect, sizes: list[int], uploaded: list[int]
) -> None:
    """Files of together at most 1 MiB are in the request; each other one follows in chunks with its size declared."""
    recorder = Recorder()
    datas = [os.urandom(size) for size in sizes]
    async with recorder.serving() as target, connect(target) as client:
        asked = [
            Text("a"),
            *(Audio(data=data, file_name=f"{size}.mp3") for size, data in zip(sizes, datas, strict=True)),
        ]
        await client.embed("m", asked, timeout=20)

    inputs = recorder.requests[0].inputs[1:]
    found = [index for index, item in enumerate(inputs) if item.audio.source.HasField("upload")]
    assert found == uploaded
    assert [file.index - 1 for file in recorder.files] == uploaded
    for file, index in zip(recorder.files, uploaded, strict=True):
        announced = inputs[index].audio.source.upload
        assert (announced.file_name, announced.media_type) == (f"{sizes[index]}.mp3", "audio/mpeg")
        assert announced.size_bytes == sizes[index]
        assert file.hash.digest() == hashlib.sha256(datas[index]).digest()
        assert file.is_complete
        assert max(file.sizes) <= 256 << 10
    for index, item in enumerate(inputs):
        if index not in uploaded:
            assert item.audio.source.file.data == datas[index]


@pytest.mark.parametrize("source", SOURCES)
async def test_declared_size_name_and_type_of_a_file(connect: Connect, tmp_path: Path, source: str) -> None:
    """An upload declares its size if it is available, and a given name and type override guessed ones."""
    recorder = Recorder()
    given = SOURCES[source](tmp_path / "sound.wav", LARGE)
    async with recorder.serving() as target, connect(target) as client:
        asked = Audio(**given, file_name="other.mp3", media_type="audio/special")
        await client.embed("m", asked, timeout=20, chunk_bytes=100_000)
        if "file" in given:
            given["file"].close()

    announced = recorder.requests[0].inputs[0].audio.source.upload
    assert (announced.file_name, announced.media_type) == ("other.mp3", "audio/special")
    assert announced.HasField("size_bytes") is (source not in UNKNOWN_SIZE)
    assert max(recorder.files[0].sizes) <= 100_000
    assert recorder.files[0].is_complete


async def test_answers_come_while_files_are_still_sent(connect: Connect, served: Served) -> None:
    """A text and a first file are answered while a second file is held back: both classes read while they send."""
    is_wanted = threading.Event()

    def held_back() -> Iterator[bytes]:
        assert is_wanted.wait(20)
        yield media.png(300, 300)

    asked = [Text("a"), Image(chunks=[media.png()]), Image(chunks=held_back())]
    done = []
    async with connect(served.app.target) as client, await client.stream("marengo3.0", asked, timeout=30) as events:
        async for event in events:
            if isinstance(event, Result):
                assert event.failure is None
                done.append(event.input_index)
            if set(done) == {0, 1}:
                is_wanted.set()

    assert done[-1] == 2
    assert len(done) == 3


async def test_a_slow_file_does_not_block_the_event_loop(served: Served) -> None:
    """AsyncClient reads blocking sources in a thread, and the event loop stays responsive."""
    may_go_on = threading.Event()

    def slow() -> Iterator[bytes]:
        assert may_go_on.wait(20)
        yield media.png()

    async with AsyncClient(served.app.target) as client:
        task = asyncio.create_task(client.embed("marengo3.0", Image(chunks=slow()), timeout=30))
        await until(lambda: calls(served) == {UPLOAD: 1})
        may_go_on.set()
        assert (await task).failure is None


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
            for make in (client.embed, client.embed_unary):
                with pytest.raises(expected) as caught:
                    await make("m", [Text("a"), Image(path=path)], timeout=10)
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


async def test_an_answered_file_is_not_read_further(connect: Connect) -> None:
    """Once an input has its result, the rest of its file is not read, and the next file is sent completely."""
    large, small = source(bytes(64 * MIB)), source(SMALL)
    received = [0, 0]
    last = [False, False]

    async def upload(messages: Any, _: Context) -> AsyncGenerator[pb.CreateEmbeddingFromUploadResponse]:
        await anext(messages)
        failed = pb.Failure(code=3, reason=error_reason_pb2.ERROR_REASON_CONTENT_TOO_LARGE)
        yield pb.CreateEmbeddingFromUploadResponse(result=result(0, failure=failed).result)
        async for message in messages:
            received[message.chunk.input_index] += len(message.chunk.data)
            last[message.chunk.input_index] = message.chunk.last
        yield pb.CreateEmbeddingFromUploadResponse(result=result(1).result)

    async with service(CreateEmbeddingFromUpload=upload) as target, connect(target) as client:
        first, second = await client.embed("m", [Audio(file=large), Audio(file=small)], timeout=30)

    assert first.failure is not None
    assert second.failure is None
    assert large.taken < 32 * MIB
    assert received[0] <= large.taken
    assert received[1] == len(SMALL)
    assert last == [True, True]


async def test_a_cancelled_upload_closes_its_file(served: Served, tmp_path: Path) -> None:
    """Cancelling a task in the middle of an upload closes the file that the client opened."""
    path = written(tmp_path / "sound.mp3", bytes(8 * MIB))
    stuck = threading.Event()

    def held_back() -> Iterator[bytes]:
        yield b"a"
        stuck.wait(20)

    async with AsyncClient(served.app.target) as client:
        asked = [Audio(path=path), Audio(chunks=held_back())]
        task = asyncio.create_task(client.embed("marengo3.0", asked, timeout=30))
        await until(lambda: calls(served) == {UPLOAD: 1})
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        stuck.set()
        await until(lambda: not opened(path))
        await until(lambda: served.metric("embedwire_requests_total", reason="CANCELLED") == 1)


def opened(path: Path) -> bool:
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(link.readlink())
    return path in links


async def test_ending_a_stream_early_stops_the_upload(connect: Connect, serve: Serve) -> None:
    """Ending a stream in the middle of an upload stops the reading of the file."""
    source_ = source(bytes(64 * MIB))
    async with serve() as served, connect(served.app.target) as client:
        async with await client.stream("marengo3.0", [Text("a"), Audio(file=source_)], timeout=30) as events:
            await anext(events)
        await until(lambda: served.metric("embedwire_requests_total", reason="CANCELLED") == 1)
        read = source_.taken
        assert (await client.embed("marengo3.0", Text("a"), timeout=10)).failure is None
        assert source_.taken <= read + 2 * MIB
    assert read < 64 * MIB


MEMORY = """
import asyncio, re, sys
from pathlib import Path
from embedwire import AsyncClient, Audio, Client, Text

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

kind, target, path = sys.argv[1:]
if kind == "Client":
    with Client(target) as client:
        client.embed("m", Audio(chunks=[bytes(1 << 20)]))
        before = peak()
        client.embed("m", Audio(path=path), timeout=50)
else:
    async def main():
        global before
        async with AsyncClient(target) as client:
            await client.embed("m", Audio(chunks=[bytes(1 << 20)]))
            before = peak()
            await client.embed("m", Audio(path=path), timeout=50)
    asyncio.run(main())
print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
async def test_memory_of_a_large_upload(tmp_path: Path, kind: str) -> None:
    """Uploading 100 MiB from a path takes memory for a few chunks only, in either class."""
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(100 * MIB)
    recorder = Recorder()
    async with recorder.serving() as target:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MEMORY, kind, target, path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 50)

    assert process.returncode == 0
    assert sum(recorder.files[-1].sizes) == 100 * MIB
    assert int(out) < 32 * MIB


@pytest.mark.parametrize("size", [0, -1])
async def test_an_invalid_chunk_size_is_refused(connect: Connect, size: int) -> None:
    """chunk_bytes below 1 is a ValueError that names it, before anything is sent."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for given in ({"data": LARGE}, {"file": io.BytesIO(LARGE)}, {"chunks": [b"abc"]}):
            with pytest.raises(ValueError, match="chunk_bytes"):
                await client.embed("m", Audio(**given), timeout=10, chunk_bytes=size)
    assert recorder.requests == []


async def test_a_path_whose_name_is_not_utf8_is_sent(connect: Connect, tmp_path: Path) -> None:
    """A file whose name is not valid UTF-8 is embedded."""
    path = written(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")), b"a picture")
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        embedding = await client.embed("m", Image(path=path), timeout=10)
    assert embedding.failure is None


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


async def test_a_device_is_not_read_into_memory(connect: Connect, served: Served) -> None:
    """An endless device that reports size 0 is uploaded chunk by chunk until the server ends the call."""
    async with connect(served.app.target) as client:
        with contextlib.closing(io.FileIO("/dev/zero")) as endless, pytest.raises(RequestError) as raised:
            await client.embed("marengo3.0", Image(file=endless), timeout=60)

    assert raised.value.reason == "CONTENT_TOO_LARGE"

    assert served.metric("grpc_server_started_total", grpc_method=UPLOAD) == 1


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
    """A BaseException of a source ends the call at once, and is not lost in gRPC's thread."""

    def call() -> None:
        with Client(served.app.target) as client:
            client.embed("marengo3.0", Image(chunks=ending()), timeout=20)

    began = time.monotonic()
    with pytest.raises(SystemExit):
        await asyncio.to_thread(call)
    assert time.monotonic() - began < 10
