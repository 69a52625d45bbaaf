"""Uploaded files: complete, re-readable at any offset, and deleted afterwards."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from embedwire_server.media.content_memory import ContentMemory
from embedwire_server.media.in_memory import READ_BYTES, InMemoryContent
from embedwire_server.media.spool import IN_MEMORY_BYTES
from tests.unit.media.spool_support import read, received, spooled, upload


@pytest.mark.parametrize(
    ("size", "on_disk"),
    [
        pytest.param(1, False, id="one byte"),
        pytest.param(IN_MEMORY_BYTES, False, id="1 MiB"),
        pytest.param(IN_MEMORY_BYTES + 1, True, id="1 MiB and a byte"),
        pytest.param(3 * IN_MEMORY_BYTES + 5, True, id="3 MiB"),
    ],
)
@pytest.mark.parametrize("chunk", [100_003, 1 << 20], ids=["small chunks", "large chunks"])
async def test_whole_file(tmp_path: Path, size: int, chunk: int, *, on_disk: bool) -> None:
    """A file comes back as it was sent, twice; beyond 1 MiB it is on disk, and never under a name."""
    data = os.urandom(size)
    file = upload(tmp_path, size=size, sha256=hashlib.sha256(data).digest())
    await received(file, data, chunk)
    assert await file.ready() == size
    assert await read(file) == data
    assert await read(file) == data
    assert spooled(tmp_path) is on_disk
    assert list(tmp_path.iterdir()) == []
    file.close()
    assert not spooled(tmp_path)


async def test_no_name_while_open(tmp_path: Path) -> None:
    """Nothing is ever to be seen in the spool directory, so that a crash leaves nothing."""
    file = upload(tmp_path)
    await file.open()
    for _ in range(12):
        await file.write(b"x" * (256 << 10))
        assert list(tmp_path.iterdir()) == []
    assert spooled(tmp_path)
    file.close()


async def test_chunks_are_bounded(tmp_path: Path) -> None:
    """A spooled file is read in pieces, so that memory does not grow with it."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory)
    await received(file, b"x" * (4 << 20), 1 << 20)
    assert max([len(chunk) async for chunk in file.chunks()]) <= max(READ_BYTES, 1 << 20)
    assert memory.taken <= IN_MEMORY_BYTES
    file.close()


async def test_early_end_of_reading(tmp_path: Path) -> None:
    """A reading that is given up in the middle does not disturb the next one."""
    data = os.urandom(2 << 20)
    file = upload(tmp_path)
    await received(file, data)
    chunks = file.chunks()
    await anext(chunks)
    await chunks.aclose()
    assert await read(file) == data
    file.close()


PLACES = [0, 1, READ_BYTES, IN_MEMORY_BYTES - 1, IN_MEMORY_BYTES, 1_200_000, 1_299_999, 1_300_000, 2_000_000]


@pytest.mark.parametrize("chunk", [1 << 20, 200_000, 1_300_000], ids=["on both", "in pieces", "on disk"])
async def test_read_at(tmp_path: Path, chunk: int) -> None:
    """Any piece can be read, from disk, from memory and from both, and none beyond the end."""
    data = os.urandom(1_300_000)
    file = upload(tmp_path)
    await received(file, data, chunk)
    for content in (file, InMemoryContent(data)):
        for offset in PLACES:
            for size in (0, 1, 100_000, 2_000_000):
                assert content.read_at(offset, size) == data[offset : offset + size]
    file.close()


async def test_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Somebody who reads a piece here and there moves nothing under a reader of the whole."""
    data = os.urandom(3_000_000)
    file = upload(tmp_path)
    await received(file, data)
    whole = b""
    async for chunk in file.chunks():
        whole += chunk
        assert file.read_at(17, 5) == data[17:22]
    assert whole == data
    file.close()


@pytest.mark.parametrize("size", [1000, 3_000_000], ids=["in memory", "on disk"])
async def test_read_after_close(tmp_path: Path, size: int) -> None:
    """A thread that comes late to a closed file hears of it, instead of reading nothing or another file."""
    file = upload(tmp_path)
    await received(file, b"x" * size)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read_at(0, 10)


async def test_close_waits_for_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor is closed between two reads, never under one: it might be another file's before it is used."""
    places, began, goes_on = asyncio.Semaphore(1), threading.Event(), threading.Event()
    file = upload(tmp_path, places=places)
    await received(file, b"x" * 3_000_000)

    def slow_read(fd: int, size: int, offset: int, pread: Callable[[int, int, int], bytes] = os.pread) -> bytes:
        began.set()
        goes_on.wait(20)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", slow_read)
    reading = asyncio.create_task(asyncio.to_thread(file.read_at, 0, 10))
    await asyncio.to_thread(began.wait, 20)
    closing = asyncio.create_task(asyncio.to_thread(file.close))
    while places.locked():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert spooled(tmp_path)
    goes_on.set()
    await closing
    assert await reading == b"x" * 10
    assert not spooled(tmp_path)


async def test_memory_content() -> None:
    """A file at hand is ready at once, in one chunk without a copy, as often as wanted."""
    data = b"abc"
    content = InMemoryContent(data)
    assert await content.ready() == 3
    for _ in range(2):
        chunks: AsyncGenerator[bytes] = content.chunks()
        assert [chunk is data async for chunk in chunks] == [True]
    content.close()
    assert await read(content) == data
    assert "abc" not in repr(content)
