"""Files that arrive in chunks: complete, re-readable, checked, and gone afterwards."""

import asyncio
import hashlib
import os
import resource
import threading
import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedwire_server.core.causes import Cause
from embedwire_server.core.errors import ContentTooLarge, GatewayError, Reason, ResourceFailure, UploadMismatch
from embedwire_server.core.inputs import Content
from embedwire_server.media.content_memory import ContentMemory
from embedwire_server.media.spool import (
    BLOCK_BYTES,
    IN_MEMORY_BYTES,
    READ_BYTES,
    InMemoryContent,
    SpooledUpload,
    UploadDeclaration,
)

LIMIT = 8 << 20


def upload(
    directory: Path | None = None,
    *,
    limit: int = LIMIT,
    size: int | None = None,
    sha256: bytes | None = None,
    places: asyncio.Semaphore | None = None,
    memory: ContentMemory | None = None,
) -> SpooledUpload:
    announced = UploadDeclaration("inputs[0].upload", limit, size, sha256)
    account = (memory or ContentMemory(256 << 20)).account(("a", "1"))
    return SpooledUpload(announced, places or asyncio.Semaphore(1), account, directory)


async def received(file: SpooledUpload, data: bytes, chunk: int = 256 << 10) -> None:
    """Let the whole file arrive."""
    await file.open()
    for at in range(0, len(data), chunk):
        await file.write(data[at : at + chunk])
    await file.finish()


async def read(content: Content) -> bytes:
    return b"".join([chunk async for chunk in content.chunks()])


def spooled(directory: Path) -> bool:
    """Whether this process holds a nameless file in the directory."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except FileNotFoundError:
            continue
    return any(link.startswith(str(directory)) for link in links)


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
    file = upload(tmp_path)
    await received(file, b"x" * (4 << 20), 1 << 20)
    assert max([len(chunk) async for chunk in file.chunks()]) <= max(READ_BYTES, 1 << 20)
    assert len(file._tail) <= IN_MEMORY_BYTES
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


async def test_close_waits_for_a_read(tmp_path: Path) -> None:
    """A descriptor is closed between two reads, never under one: it might be another file's before it is used."""
    file = upload(tmp_path)
    await received(file, b"x" * 3_000_000)
    with file._reading:
        closing = asyncio.create_task(asyncio.to_thread(file.close))
        while not file._closed:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert spooled(tmp_path)
    await closing
    assert not spooled(tmp_path)


async def test_ready_waits() -> None:
    """The reader waits until the last byte is there and checked."""
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
    """A file that is not what was declared is a fault for its reader, with the field and the number."""
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
    """A file of the declared size, hash, and of just the limit is good."""
    file = upload(limit=3, size=3, sha256=hashlib.sha256(b"abc").digest())
    await received(file, b"abc")
    assert await file.ready() == 3
    file.close()


async def test_discards_after_fault() -> None:
    """After a fault the writer may go on; nothing of it is kept, and the first fault stands."""
    file = upload(limit=10)
    await file.open()
    await file.write(b"x" * 11)
    for _ in range(100):
        await file.write(b"x" * (1 << 20))
    await file.finish()
    assert not file._pending
    assert file._file is None
    with pytest.raises(ContentTooLarge):
        await file.ready()
    file.close()


async def test_discards_after_close(tmp_path: Path) -> None:
    """A writer that has not heard of the end does no harm, and leaves nothing."""
    file = upload(tmp_path)
    await file.open()
    file.close()
    for _ in range(4):
        await file.write(b"x" * (1 << 20))
    assert not file._pending
    assert not spooled(tmp_path)


async def test_closed_while_spooling(tmp_path: Path) -> None:
    """A file that is closed while its bytes wait for their way to disk leaves nothing open."""
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
    """What a writer sends after a fault makes no other fault of it."""
    file = upload(tmp_path / "missing", limit=3 << 20)
    await received(file, b"x" * (4 << 20))
    with pytest.raises(ResourceFailure):
        await file.ready()
    file.close()


async def test_places() -> None:
    """An upload takes a place when it is opened and gives it back, once, when it is closed."""
    places = asyncio.Semaphore(1)
    first, second = upload(places=places), upload(places=places)
    await first.open()
    waiting = asyncio.create_task(second.open())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.close()
    await waiting
    first.close()
    assert places.locked()
    second.close()
    assert not places.locked()


async def test_place_of_a_closed_upload() -> None:
    """An upload that is closed before its turn gives its place back at once."""
    places = asyncio.Semaphore(1)
    file = upload(places=places)
    file.close()
    await file.open()
    assert not places.locked()


async def test_place_of_a_cancelled_upload() -> None:
    """An upload that is cancelled while it waits for a place takes none."""
    places = asyncio.Semaphore(1)
    first, second = upload(places=places), upload(places=places)
    await first.open()
    waiting = asyncio.create_task(second.open())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    second.close()
    assert places.locked()
    first.close()
    assert not places.locked()


@pytest.mark.parametrize("directory", ["missing", "a file"])
async def test_unwritable_directory(tmp_path: Path, directory: str) -> None:
    """Where nothing can be spooled the server says that this is its own fault; small files still pass."""
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
    """No file of this process may grow beyond 2 MiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
async def test_full_disk(tmp_path: Path) -> None:
    """When the disk is full in the middle of a file, the server says that it has no room."""
    places = asyncio.Semaphore(1)
    file = upload(tmp_path, places=places)
    await received(file, b"x" * (6 << 20), 1 << 20)
    with pytest.raises(ResourceFailure) as caught:
        await file.ready()
    assert (caught.value.reason, caught.value.cause) == (Reason.OVERLOADED, Cause.DISK_FULL)
    file.close()
    assert not spooled(tmp_path)
    assert not places.locked()


async def test_wrong_hash_of_a_spooled_file(tmp_path: Path) -> None:
    """The hash covers what is on disk and what is still in memory."""
    data = os.urandom(2_500_000)
    for index in (0, -1):
        changed = bytearray(data)
        changed[index] ^= 1
        file = upload(tmp_path, sha256=hashlib.sha256(data).digest())
        await received(file, bytes(changed))
        with pytest.raises(UploadMismatch):
            await file.ready()
        file.close()


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


async def test_a_disk_that_is_full_at_the_last_bytes(tmp_path: Path) -> None:
    """What does not reach the disk fails the upload, not the attempt that reads it."""
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
    """An upload in memory costs its bytes, whatever the size of its chunks, and they are what is charged."""
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
    """An upload that finds no room in memory is spooled at once, is complete, and holds one block at most."""
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
async def test_a_fault_gives_back_memory_and_disk_at_once(tmp_path: Path, fault: dict[str, int]) -> None:
    """A file that has failed holds nothing, although its caller still sends."""
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
    """An upload that has found the disk full gives back what it has there, so that others find room."""
    memory = ContentMemory(256 << 20)
    file = upload(tmp_path, memory=memory)
    await file.open()
    for _ in range(6):
        await file.write(b"x" * (1 << 20))
    assert isinstance(file.fault, ResourceFailure)
    assert memory.taken == 0
    assert not spooled(tmp_path)
    file.close()


async def test_a_cancelled_write_gives_back_its_memory(tmp_path: Path) -> None:
    """An upload that is cancelled on its way to disk leaves nothing charged."""
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
