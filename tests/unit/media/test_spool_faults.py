"""Faults of uploads: size, hash, limit, close and cancellation."""

import asyncio
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedwire_server.core.errors import ContentTooLarge, GatewayError, Reason, ResourceFailure, UploadMismatch
from embedwire_server.media.memory_budget import ContentMemory
from tests.unit.media.spool_support import received, spooled, upload


async def test_ready_waits() -> None:
    """`ready` waits until the last byte has arrived and been checked."""
    file = upload()
    waiting = asyncio.create_task(file.ready())
    await file.open()
    await file.write(b"abc")
    await asyncio.sleep(0)
    assert not waiting.done()
    await file.finish()
    assert await waiting == 3
    file.close()


@pytest.mark.parametrize(
    ("file", "data", "reason", "field", "words"),
    [
        pytest.param({"size": 3}, b"abcd", Reason.UPLOAD_MISMATCH, ".size_bytes", "3 bytes", id="longer"),
        pytest.param({"size": 3}, b"ab", Reason.UPLOAD_MISMATCH, ".size_bytes", "2 were received", id="shorter"),
        pytest.param({}, b"", Reason.UPLOAD_MISMATCH, "", "empty", id="empty"),
        pytest.param({"sha256": b"x" * 32}, b"abc", Reason.UPLOAD_MISMATCH, ".sha256", "hash", id="other hash"),
        pytest.param({"limit": 3}, b"abcd", Reason.CONTENT_TOO_LARGE, "", "3 bytes", id="too large"),
        pytest.param({"limit": 3, "size": 3}, b"abcd", Reason.CONTENT_TOO_LARGE, "", "3 bytes", id="both"),
        pytest.param({"limit": 2 << 20}, b"x" * (3 << 20), Reason.CONTENT_TOO_LARGE, "", "2097152", id="on disk"),
    ],
)
async def test_faults(
    tmp_path: Path, file: dict[str, int], data: bytes, reason: Reason, field: str, words: str
) -> None:
    """A file that differs from its declaration has a fault with the field and the number."""
    faulty = upload(tmp_path, **file)  # type: ignore[arg-type] # one row is bytes
    await received(faulty, data)
    for _ in range(2):
        with pytest.raises(GatewayError) as caught:
            await faulty.ready()
        assert caught.value.reason is reason
        assert [violation.field for violation in caught.value.violations] == [f"inputs[0].upload{field}"]
        assert words in caught.value.violations[0].description
    faulty.close()
    assert not spooled(tmp_path)


async def test_exactly_as_declared() -> None:
    """A file with the declared size and hash, at exactly the limit, is accepted."""
    file = upload(limit=3, size=3, sha256=hashlib.sha256(b"abc").digest())
    await received(file, b"abc")
    assert await file.ready() == 3
    file.close()


async def test_discards_after_fault(tmp_path: Path) -> None:
    """Data after a fault is discarded, and the first fault is kept."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, limit=10, memory=memory)
    await file.open()
    await file.write(b"x" * 11)
    for _ in range(100):
        await file.write(b"x" * (1 << 20))
    await file.finish()
    assert memory.taken == 0
    assert not spooled(tmp_path)
    with pytest.raises(ContentTooLarge):
        await file.ready()
    file.close()


async def test_discards_after_close(tmp_path: Path) -> None:
    """Data after close is discarded and leaves nothing open."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory)
    await file.open()
    file.close()
    for _ in range(5):
        await file.write(b"x" * (1 << 20))
    assert memory.taken == 0
    assert not spooled(tmp_path)


async def test_closed_while_spooling(tmp_path: Path) -> None:
    """A file closed during a write to disk leaves nothing open."""
    executor, disk_is_busy = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(disk_is_busy.wait)
    file = upload(tmp_path)
    await file.open()
    writing = asyncio.create_task(file.write(b"x" * (2 << 20)))
    await asyncio.sleep(0)
    file.close()
    disk_is_busy.set()
    await writing
    assert not spooled(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_first_fault_stands(tmp_path: Path) -> None:
    """Data after a fault does not change the fault."""
    file = upload(tmp_path / "missing", limit=3 << 20)
    await received(file, b"x" * (4 << 20))
    with pytest.raises(ResourceFailure):
        await file.ready()
    file.close()


async def test_wrong_hash_of_a_spooled_file(tmp_path: Path) -> None:
    """The hash covers the bytes on disk and those in memory."""
    data = os.urandom(2_500_000)
    for index in (0, -1):
        changed = bytearray(data)
        changed[index] ^= 1
        file = upload(tmp_path, sha256=hashlib.sha256(data).digest())
        await received(file, bytes(changed))
        with pytest.raises(UploadMismatch):
            await file.ready()
        file.close()
