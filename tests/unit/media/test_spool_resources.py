"""Resources of uploads: open uploads, memory and disk, also when exhausted."""

import asyncio
import hashlib
import os
import resource
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedwire_server.core.errors import GatewayError, Reason, ResourceFailure
from embedwire_server.core.failure_causes import Cause
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.media.spool import BLOCK_BYTES
from tests.unit.media.spool_support import read, received, spooled, upload


async def test_slots() -> None:
    """An upload takes a slot when it is opened and releases it once when it is closed."""
    slots = asyncio.Semaphore(1)
    first, second = upload(slots=slots), upload(slots=slots)
    await first.open()
    waiting = asyncio.create_task(second.open())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.close()
    await waiting
    first.close()
    assert slots.locked()
    second.close()
    assert not slots.locked()


async def test_upload_closed_before_it_is_opened() -> None:
    """An upload that is closed before it is opened keeps no slot."""
    slots = asyncio.Semaphore(1)
    file = upload(slots=slots)
    file.close()
    await file.open()
    assert not slots.locked()


async def test_upload_cancelled_while_it_waits_for_a_slot() -> None:
    """An upload cancelled while it waits for a slot takes none."""
    slots = asyncio.Semaphore(1)
    first, second = upload(slots=slots), upload(slots=slots)
    await first.open()
    waiting = asyncio.create_task(second.open())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    second.close()
    assert slots.locked()
    first.close()
    assert not slots.locked()


@pytest.mark.parametrize("directory", ["missing", "a file"])
async def test_unwritable_directory(tmp_path: Path, directory: str) -> None:
    """With an unwritable directory large files fail with the server's fault, and small ones succeed."""
    (tmp_path / "a file").touch()
    file = upload(tmp_path / directory)
    await received(file, b"x" * (2 << 20))
    with pytest.raises(ResourceFailure) as caught:
        await file.ready()
    assert (caught.value.reason, caught.value.cause) == (Reason.INTERNAL, Cause.SPOOL_UNAVAILABLE)
    assert str(tmp_path) not in str(caught.value)
    file.close()
    small = upload(tmp_path / directory)
    await received(small, b"x")
    assert await small.ready() == 1
    small.close()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Limit the size of files of this process to 2 MiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
async def test_full_disk(tmp_path: Path) -> None:
    """A disk that fills up in the middle of a file fails the upload with a message about the space."""
    slots = asyncio.Semaphore(1)
    file = upload(tmp_path, slots=slots)
    await received(file, b"x" * (6 << 20), 1 << 20)
    with pytest.raises(ResourceFailure) as caught:
        await file.ready()
    assert (caught.value.reason, caught.value.cause) == (Reason.OVERLOADED, Cause.DISK_FULL)
    file.close()
    assert not spooled(tmp_path)
    assert not slots.locked()


async def test_a_disk_that_is_full_at_the_last_bytes(tmp_path: Path) -> None:
    """A failed write of the last bytes fails the upload, not the attempt that reads it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = upload(tmp_path)
    await file.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        for _ in range(1049):
            await file.write(b"x" * 1000)
        await file.finish()
        with pytest.raises(ResourceFailure):
            await file.ready()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        file.close()


@pytest.mark.parametrize("size", [1, 2, 40, 1000])
async def test_small_chunks_cost_their_bytes(size: int) -> None:
    """An upload in memory is charged for its bytes, whatever the size of its chunks."""
    memory = ContentMemory(256 << 20)
    file = upload(memory=memory)
    await file.open()
    count = 100_000 // size
    tracemalloc.start()
    try:
        for number in range(count):
            await file.write(number.to_bytes(8, "little")[:1] * size)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory.taken == count * size
    assert held < 1.3 * count * size + 10_000
    file.close()
    assert memory.taken == 0


@pytest.mark.parametrize("chunk", [100, 10_000, 300_000])
async def test_files_go_to_disk_where_memory_is_short(tmp_path: Path, chunk: int) -> None:
    """An upload without free memory is spooled immediately, is complete and uses at most one block."""
    memory = ContentMemory(1 << 20)
    memory.hold_request(("b", "1"), 1 << 20)
    data = os.urandom(800_000)
    file = upload(tmp_path, memory=memory, sha256=hashlib.sha256(data).digest())
    await received(file, data, chunk)
    assert memory.taken - (1 << 20) <= BLOCK_BYTES
    assert spooled(tmp_path)
    assert await file.ready() == len(data)
    assert await read(file) == data
    file.close()
    assert memory.taken == 1 << 20


@pytest.mark.parametrize("fault", [{"limit": 2 << 20}, {"size": 2 << 20}], ids=["too large", "longer than declared"])
async def test_fault_releases_memory_and_disk_at_once(tmp_path: Path, fault: dict[str, int]) -> None:
    """A failed upload uses no memory and disk, although its caller still sends."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory, **fault)  # type: ignore[arg-type] # rows of integers
    await file.open()
    for _ in range(30):
        await file.write(b"x" * 100_000)
    assert isinstance(file.fault, GatewayError)
    assert memory.taken == 0
    assert not spooled(tmp_path)
    file.close()


@pytest.mark.usefixtures("full_disk")
async def test_a_full_disk_is_not_kept_full(tmp_path: Path) -> None:
    """An upload that fails on a full disk releases its disk space for other uploads."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory)
    await file.open()
    for _ in range(6):
        await file.write(b"x" * (1 << 20))
    assert isinstance(file.fault, ResourceFailure)
    assert memory.taken == 0
    assert not spooled(tmp_path)
    file.close()


async def test_cancelled_write_releases_its_memory(tmp_path: Path) -> None:
    """An upload cancelled during a write to disk leaves no memory charged."""
    executor, disk_is_busy = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(disk_is_busy.wait)
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory)
    await file.open()
    writing = asyncio.create_task(file.write(b"x" * (2 << 20)))
    await asyncio.sleep(0)
    assert memory.taken == 2 << 20
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    file.close()
    disk_is_busy.set()
    assert memory.taken == 0
