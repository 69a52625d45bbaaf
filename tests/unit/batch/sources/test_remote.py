"""Buckets as sources: keys, versions, contents that can be read again, and failures of the store."""

import asyncio
import errno
import json
import threading
import zipfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from aiohttp import web

from embedwire import Audio, Image, files
from embedwire.batch.records import Record
from embedwire.batch.sources import read
from embedwire.batch.sources.ahead import AHEAD, in_order
from embedwire.batch.sources.remote import BLOCK_BYTES
from tests.support.media import padded_wav, png
from tests.unit.batch.sources.reading import Found, bucket, content, found

LARGE = padded_wav(2 * BLOCK_BYTES + 12_345)


def test_a_bucket_is_a_folder() -> None:
    """Keys are paths relative to the prefix, in order; contents are read when they are sent, as often as needed."""
    url = bucket("folder", b__txt="a red fox\n", a___z__png=png(), a___y___s__wav=LARGE, __x__png=png(), c__gif="x")
    source = read(url)
    result = found(source)

    assert result.keys == ["a/y/s.wav", "a/z.png", "b.txt"]
    assert result.ignored == {".gif": 1}
    assert source.count() is None
    for _ in range(2):
        assert [content(record) for record in result.records.values()] == [LARGE, png(), b"a red fox"]


def test_the_client_knows_sizes_and_names_of_remote_files() -> None:
    """A remote file has its size, so that small ones share a call, and its name without the path."""
    record = found(bucket("names", deep___x__png=png())).records["deep/x.png"]

    assert isinstance(record.input, Image)
    assert files.size(record.input) == record.size == len(png())
    assert files.name(record.input) == "x.png"
    assert files.read_whole(record.input, record.size) == png()


def test_a_large_remote_file_is_read_in_blocks() -> None:
    """No chunk is larger than a block."""
    record = found(bucket("blocks", s__wav=LARGE)).records["s.wav"]

    assert isinstance(record.input, Audio)
    chunks = list(record.input.chunks)  # type: ignore[arg-type]
    assert max(map(len, chunks)) <= BLOCK_BYTES
    assert b"".join(chunks) == LARGE


def test_a_changed_remote_file_has_another_version() -> None:
    """Writing a file again changes its version; with checksum only another content does."""
    url = bucket("versions", a__png=png(), b__png=png())
    before, hashes = found(url).records, found(url, checksum=True).records
    bucket("versions", b__png=png())
    after, same = found(url).records, found(url, checksum=True).records

    assert before["a.png"].version == after["a.png"].version
    assert before["b.png"].version != after["b.png"].version
    assert hashes["b.png"].version == same["b.png"].version == hashes["a.png"].version


def test_a_remote_file_that_vanishes_is_the_failure_of_its_input() -> None:
    """A file that is deleted after the listing raises FileNotFoundError when it is sent."""
    record = found(bucket("vanishing", a__png=png())).records["a.png"]
    fsspec.filesystem("memory").rm("/vanishing/a.png")

    with pytest.raises(FileNotFoundError) as raised:
        content(record)
    assert raised.value.errno == errno.ENOENT  # the client reports its message


def test_an_archive_is_a_bucket(tmp_path: Path) -> None:
    """URLs of fsspec may be chained, for instance for a file in an archive."""
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("d/x.png", png())
        archive.writestr("d/a.txt", "a red fox")
        archive.writestr("other/b.txt", "not this")
    result = found(f"zip://d::{tmp_path / 'in.zip'}")

    assert [content(record) for record in result.records.values()] == [b"a red fox", png()]
    assert result.keys == ["a.txt", "x.png"]


@pytest.fixture
async def website(tmp_path: Path) -> AsyncGenerator[tuple[str, Path]]:
    """A web server with ranges, and its folder."""
    app = web.Application()
    app.router.add_static("/", tmp_path)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", tmp_path
    await runner.cleanup()


async def test_json_lines_of_a_web_server(website: tuple[str, Path]) -> None:
    """A file on a web server is read in ranges, line by line, with the files beside it."""
    url, folder = website
    texts = (json.dumps({"text": f"{number} {'x' * 1000}"}) for number in range(3000))
    lines = ['{"image": "x.png"}', '{"audio": "s.wav"}', *texts]
    (folder / "in.jsonl").write_text("\n".join(lines))
    (folder / "x.png").write_bytes(png())
    (folder / "s.wav").write_bytes(LARGE)

    def work() -> tuple[Found, list[bytes]]:
        result = found(f"{url}/in.jsonl")
        return result, [content(result.records[f"in.jsonl:{index}"]) for index in (0, 1, 3001)]

    result, contents = await asyncio.to_thread(work)
    assert len(result.records) == 3002
    assert contents == [png(), LARGE, b"2999 " + b"x" * 1000]


async def test_a_file_that_a_web_server_lacks_is_a_fault(website: tuple[str, Path]) -> None:
    """The answer 404 is the failure of one input."""
    url, folder = website
    (folder / "list.txt").write_text("none.png\n")
    result = await asyncio.to_thread(found, f"{url}/list.txt")

    assert result.faults == {"none.png": "line 1: image: cannot be read: No such file or directory"}


async def test_a_store_that_fails_is_no_fault_of_an_input(website: tuple[str, Path]) -> None:
    """While the store answers with errors, the iteration ends with OSError, and no input is marked as invalid."""
    url, folder = website
    (folder / "list.txt").write_text("x.png\n")
    (folder / "x.png").mkdir()  # the server answers 403
    with pytest.raises(OSError, match="403"):
        await asyncio.to_thread(found, f"{url}/list.txt")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("sftp://user:secret@host/x", ImportError, r"sftp:// needs .* not installed: pip install 'fsspec\[sftp\]'"),
        ("smb://host/x", ImportError, r"smb:// needs .* not installed: pip install 'fsspec\[smb\]'"),
        ("nothing://x", ValueError, "nothing:// is unknown"),
        ("memory://none/at/all", FileNotFoundError, "No such file or directory: 'memory://none/at/all'"),
    ],
)
def test_a_location_that_cannot_be_read_is_an_error(url: str, error: type[Exception], message: str) -> None:
    """A missing package is an error that names what to install; a missing folder names its location."""
    with pytest.raises(error, match=message) as raised:
        read(url)
    assert "secret" not in str(raised.value)


def test_results_of_concurrent_requests_are_in_order() -> None:
    """Functions that wait are called concurrently, at most AHEAD before the first result, and yield in order."""
    called: list[int] = []
    barrier = threading.Barrier(8, timeout=60)

    def work(number: int) -> int:
        if number < 8:
            barrier.wait()
        called.append(number)
        return number

    def tasks() -> Any:
        for number in range(100):
            taken.append(number)
            yield number % 3 != 2 or number < 8, lambda number=number: work(number)

    taken: list[int] = []
    results = in_order(tasks())
    assert next(results) == 0
    assert len(taken) <= AHEAD
    assert [0, *results] == list(range(100))
    assert sorted(called) == list(range(100))


def test_local_functions_are_called_when_their_result_is_taken() -> None:
    """Without a remote store, a result is yielded before the next function is taken."""
    taken: list[int] = []

    def tasks() -> Any:
        for number in range(5):
            taken.append(number)
            yield False, lambda: None

    results = in_order(tasks())
    next(results)
    assert taken == [0]


def test_an_exception_ends_concurrent_requests() -> None:
    """The exception of a function is raised in its place, and no thread is left."""
    before = threading.active_count()

    def failing() -> int:
        raise OSError("the bucket is gone")

    functions: list[Callable[[], int]] = [lambda: 1, failing, *([lambda: 2] * 50)]
    results = in_order((True, function) for function in functions)
    assert next(results) == 1
    with pytest.raises(OSError, match="the bucket is gone"):
        list(results)
    assert threading.active_count() <= before


def test_an_iteration_that_is_abandoned_leaves_no_thread() -> None:
    """Closing an iterator with requests in flight ends its threads."""
    before = threading.active_count()
    lines = "\n".join(["x.png"] * 100)
    records = iter(read(bucket("abandoned", list__txt=lines, x__png=png()) + "/list.txt"))
    assert isinstance(next(records), Record)
    records.close()  # type: ignore[attr-defined]

    assert threading.active_count() <= before
