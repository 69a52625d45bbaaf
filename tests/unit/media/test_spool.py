"""Uploaded files: completeness, random access, and deletion."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from embedwire_server.media.in_memory import READ_BYTES, InMemoryContent
from embedwire_server.media.memory_budget import ContentMemory
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
    """A file can be read twice as it was sent; beyond 1 MiB it is on disk, without a name."""
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
    """The spool directory has no entry for an open file, so that a crash leaves none."""
    file = upload(tmp_path)
    await file.open()
    for _ in range(12):
        await file.write(b"x" * (256 << 10))
        assert list(tmp_path.iterdir()) == []
    assert spooled(tmp_path)
    file.close()


async def test_chunks_are_bounded(tmp_path: Path) -> None:
    """A spooled file is read in chunks of bounded size."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory)
    await received(file, b"x" * (4 << 20), 1 << 20)
    assert max([len(chunk) async for chunk in file.chunks()]) <= max(READ_BYTES, 1 << 20)
    assert memory.taken <= IN_MEMORY_BYTES
    file.close()


async def test_early_end_of_reading(tmp_path: Path) -> None:
    """An abandoned read does not affect the next one."""
    data = os.urandom(2 << 20)
    file = upload(tmp_path)
    await received(file, data)
    chunks = file.chunks()
    await anext(chunks)
    await chunks.aclose()
    assert await read(file) == data
    file.close()


OFFSETS = [0, 1, READ_BYTES, IN_MEMORY_BYTES - 1, IN_MEMORY_BYTES, 1_200_000, 1_299_999, 1_300_000, 2_000_000]


@pytest.mark.parametrize("chunk", [1 << 20, 200_000, 1_300_000], ids=["on both", "in pieces", "on disk"])
async def test_read_at(tmp_path: Path, chunk: int) -> None:
    """Any range can be read, from disk, memory and both, and nothing beyond the end."""
    data = os.urandom(1_300_000)
    file = upload(tmp_path)
    await received(file, data, chunk)
    for content in (file, InMemoryContent(data)):
        for offset in OFFSETS:
            for size in (0, 1, 100_000, 2_000_000):
                assert content.read_at(offset, size) == data[offset : offset + size]
    file.close()


async def test_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A random read does not move the position of a sequential reader."""
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
    """A read after close raises instead of returning nothing or data of another file."""
    file = upload(tmp_path)
    await received(file, b"x" * size)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read_at(0, 10)


async def test_close_waits_for_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Close waits for a running read, since the descriptor could be reused."""
    slots, began, goes_on = asyncio.Semaphore(1), threading.Event(), threading.Event()
    file = upload(tmp_path, slots=slots)
    await received(file, b"x" * 3_000_000)

    def slow_read(fd: int, size: int, offset: int, pread: Callable[[int, int, int], bytes] = os.pread) -> bytes:
        began.set()
        goes_on.wait(20)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", slow_read)
    reading = asyncio.create_task(asyncio.to_thread(file.read_at, 0, 10))
    await asyncio.to_thread(began.wait, 20)
    closing = asyncio.create_task(asyncio.to_thread(file.close))
    while slots.locked():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert spooled(tmp_path)
    goes_on.set()
    await closing
    assert await reading == b"x" * 10
    assert not spooled(tmp_path)


async def test_memory_content() -> None:
    """Inline content is ready without a wait, in one chunk without a copy, any number of times."""
    data = b"abc"
    content = InMemoryContent(data)
    assert await content.ready() == 3
    for _ in range(2):
        chunks: AsyncGenerator[bytes] = content.chunks()
        assert [chunk is data async for chunk in chunks] == [True]
    content.close()
    assert await read(content) == data
    assert "abc" not in repr(content)
