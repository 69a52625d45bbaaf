"""Uploads from all kinds of sources: which files are uploaded, and that all bytes arrive."""

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from embedwire import AsyncClient, Audio, Client, Image, Result, Text
from tests.e2e.client.callers import Connect
from tests.e2e.client.services import Recorder
from tests.e2e.client.uploads import (
    LARGE,
    MESSAGE,
    MIB,
    SMALL,
    SOURCES,
    UNKNOWN_SIZE,
    UPLOAD,
    calls,
    in_pieces,
    written,
)
from tests.support import media
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, reply


def part(visit: Visit) -> tuple[str, bytes]:
    """The headers and the content of the file in a multipart body."""
    boundary = visit.headers["content-type"].partition("boundary=")[2].strip('"')
    for piece in visit.body.split(f"--{boundary}\r\n".encode())[1:]:
        head, _, rest = piece.partition(b"\r\n\r\n")
        if b"filename" in head:
            return head.decode(), rest[: rest.rindex(b"\r\n--" if rest.rstrip().endswith(b"--") else b"\r\n")]
    raise AssertionError("there is no file")


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


async def test_a_path_whose_name_is_not_utf8_is_sent(connect: Connect, tmp_path: Path) -> None:
    """A file whose name is not valid UTF-8 is embedded."""
    path = written(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")), b"a picture")
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        embedding = await client.embed("m", Image(path=path), timeout=10)
    assert embedding.failure is None
