"""Runs of a batch that are not interrupted: what is embedded, and what is read and paid again."""

import asyncio
import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from embedwire import Audio, Client, Image
from embedwire.batch import Batch, BatchOptions, InvalidRecord, OutputInUseError, OutputMismatchError, Record
from embedwire.errors import RequestError
from embedwire.inputs import RepeatableChunks
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.services import result, segment, service
from tests.e2e.client_batch.support import (
    MODEL,
    Entry,
    Listed,
    answer,
    failures,
    forget_parts,
    keys,
    rows,
    run,
    text,
    text_of,
    texts,
)
from tests.support.media import flac, png
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit


async def test_every_input_is_in_the_output_once(served: Served, tmp_path: Path) -> None:
    """Texts, images and audio are in the parts, all segments of an input in one, and failures in their file."""
    entries = [
        *texts(50),
        Record("picture", Image(data=png()), 1, "1"),
        Record("sound", Audio(data=flac(20), file_name="a.flac"), 1, "1"),
        Record("broken", Image(data=b"no image", file_name="a.png"), 1, "1"),
        InvalidRecord("line:7", "line 7: not JSON"),
    ]
    summary = await run(served.app.target, entries, tmp_path, part_rows=20)

    expected = {f"key-{number}" for number in range(50)} | {"picture", "sound"}
    counts = Counter(keys(tmp_path))
    assert counts.keys() == expected
    assert counts["sound"] > 2
    assert sum(counts.values()) - counts["sound"] == 51
    assert len(rows(tmp_path)[0]["vector"]) == 512
    assert {key: line["reason"] for key, line in failures(tmp_path).items()} == {
        "broken": "INPUT_REJECTED",
        "line:7": "INVALID_RECORD",
    }
    assert summary.is_complete
    assert summary.parts >= 2
    assert (summary.progress.embedded, summary.progress.failed) == (52, 2)
    assert summary.progress.segments == sum(counts.values())
    assert summary.reasons == {"INPUT_REJECTED": 1, "INVALID_RECORD": 1}


async def test_a_second_run_pays_nothing_again(scripted: Scripted, tmp_path: Path) -> None:
    """A later run sends only the inputs that were added."""
    async with scripted(answer) as (served, upstream):
        await run(served.app.target, texts(40), tmp_path)
        summary = await run(served.app.target, texts(45), tmp_path)

    assert len(upstream.visits) == 45
    assert keys(tmp_path) == sorted(f"key-{number}" for number in range(45))
    assert (summary.progress.resumed, summary.progress.embedded, summary.parts) == (40, 5, 2)


async def test_changed_inputs_and_duplicate_keys(scripted: Scripted, tmp_path: Path) -> None:
    """A changed input and another input with the same key are failures, the same one again a duplicate."""
    entries = [text("a"), text("b", "text of one."), text("a"), text("b", "text of two.")]
    async with scripted(answer) as (served, upstream):
        first = await run(served.app.target, entries, tmp_path)
        assert failures(tmp_path)["b"]["reason"] == "DUPLICATE_KEY"
        second = await run(served.app.target, [text("a", version="other"), text("b", "text of one.")], tmp_path)

    assert (first.progress.duplicates, first.progress.failed, first.progress.embedded) == (1, 1, 2)
    assert {key: line["reason"] for key, line in failures(tmp_path).items()} == {"a": "CHANGED"}
    assert (second.progress.failed, second.progress.resumed) == (1, 1)
    assert len(upstream.visits) == 2
    assert keys(tmp_path) == ["a", "b"]


async def test_permanent_failures_are_not_paid_again(scripted: Scripted, tmp_path: Path) -> None:
    """An input that the upstream has rejected is sent again only if that is requested, or if it has changed."""
    is_fixed = False

    async def script(visit: Visit) -> None:
        if not is_fixed and text_of(visit) == "key-1":
            await visit.answer({"code": "parameter_invalid", "message": "too long"}, 400)
        else:
            await answer(visit)

    async with scripted(script) as (served, upstream):
        await run(served.app.target, texts(3), tmp_path)
        second = await run(served.app.target, texts(3), tmp_path)
        assert len(upstream.visits) == 3
        assert failures(tmp_path)["key-1"]["code"] == "INVALID_ARGUMENT"
        is_fixed = True
        third = await run(served.app.target, texts(3), tmp_path, retry_failed=True)

    assert (second.progress.failed, second.progress.resumed, second.is_complete) == (1, 2, True)
    assert third.progress.embedded == 1
    assert failures(tmp_path) == {}
    assert keys(tmp_path) == ["key-0", "key-1", "key-2"]


async def test_other_settings_are_an_error(served: Served, tmp_path: Path) -> None:
    """A run with another model, other dimensions or other settings on the same output is an error that says so."""
    target = served.app.target
    await run(target, texts(1), tmp_path, settings={"segmentation": "fixed 6"})
    with pytest.raises(OutputMismatchError, match=r"model: .*'marengo3\.0', not with 'marengo3\.5'"):
        await run(target, texts(1), tmp_path, "marengo3.5")
    with pytest.raises(OutputMismatchError, match="segmentation: "):
        await run(target, texts(1), tmp_path, settings={"segmentation": "dynamic"})
    with pytest.raises(RequestError, match="model_name: must be one of"):
        await run(target, texts(1), tmp_path, "unknown")


async def test_another_upstream_is_an_error(served: Served, scripted: Scripted, tmp_path: Path) -> None:
    """Vectors of the sandbox and of another upstream are not mixed in one output."""
    await run(served.app.target, texts(1), tmp_path)
    async with scripted(answer) as (other, _):
        with pytest.raises(OutputMismatchError, match=r"upstream: .*'sandbox'"):
            await run(other.app.target, texts(2), tmp_path)
    assert keys(tmp_path) == ["key-0"]


async def test_a_missing_part_is_an_error(served: Served, tmp_path: Path) -> None:
    """A run does not continue an output of which a part was deleted."""
    await run(served.app.target, texts(1), tmp_path)
    (tmp_path / "embeddings/part-00000.parquet").unlink()
    with pytest.raises(OutputMismatchError, match=r"part-00000\.parquet: missing"):
        await run(served.app.target, texts(1), tmp_path)


async def test_the_part_of_an_ended_process_is_replaced(served: Served, tmp_path: Path) -> None:
    """A part that was not recorded, and a temporary file, are removed at the start: the ledger has the rows."""
    await run(served.app.target, texts(2), tmp_path)
    folder = tmp_path / "embeddings"
    content = (folder / "part-00000.parquet").read_bytes()
    forget_parts(tmp_path)
    (folder / ".part-00002.parquet.part").write_bytes(content[:9])
    await run(served.app.target, texts(3), tmp_path)
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    assert keys(tmp_path) == ["key-0", "key-1", "key-2"]


@pytest.mark.parametrize("name", ["part-00001.parquet", "part-00007.npy"])
async def test_parts_of_others_are_kept(served: Served, tmp_path: Path, name: str) -> None:
    """A part that the ledger cannot know is an error; nothing is removed and nothing is sent."""
    await run(served.app.target, texts(2), tmp_path)
    (tmp_path / "embeddings" / name).touch()
    with pytest.raises(OutputMismatchError, match=f"{name}: the ledger does not know this part"):
        await run(served.app.target, texts(3), tmp_path)
    assert sorted(os.listdir(tmp_path / "embeddings")) == ["part-00000.parquet", name]


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_parts_without_a_ledger_are_kept(scripted: Scripted, tmp_path: Path, *, is_deleted: bool) -> None:
    """If the ledger was deleted or emptied, its parts are kept, and nothing is paid again."""
    async with scripted(answer) as (served, upstream):
        await run(served.app.target, texts(2), tmp_path)
        (tmp_path / "ledger.sqlite").unlink() if is_deleted else os.truncate(tmp_path / "ledger.sqlite", 0)
        for _ in range(2):
            with pytest.raises(OutputMismatchError, match=r"ledger\.sqlite is missing or empty; restore it"):
                await run(served.app.target, texts(2), tmp_path)
        assert keys(tmp_path) == ["key-0", "key-1"]
        assert len(upstream.visits) == 2


async def test_a_full_disk_is_noticed_before_anything_is_paid(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too little space for the answers of the inputs in flight, nothing is sent."""
    usage = shutil.disk_usage(tmp_path)._replace(free=30 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    async with scripted(answer) as (served, upstream):
        with pytest.raises(OSError, match="at least 33 MiB of free space are needed, but there are 30") as raised:
            await run(served.app.target, texts(2), tmp_path)
    assert raised.value.errno == errno.ENOSPC
    assert not upstream.visits


async def test_a_damaged_part_is_an_error(served: Served, tmp_path: Path) -> None:
    """A run does not continue an output of which a part was truncated."""
    await run(served.app.target, texts(1), tmp_path)
    os.truncate(tmp_path / "embeddings/part-00000.parquet", 0)
    with pytest.raises(OutputMismatchError, match=r"part-00000\.parquet: missing or damaged"):
        await run(served.app.target, texts(1), tmp_path)


async def test_a_second_run_on_the_same_output_is_an_error(scripted: Scripted, tmp_path: Path) -> None:
    """While a run writes to an output, another one cannot, and reads and sends nothing."""
    is_begun, may_end = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        is_begun.set()
        await may_end.wait()
        await answer(visit)

    async with scripted(script) as (served, upstream):
        running = asyncio.create_task(run(served.app.target, texts(1), tmp_path))
        await is_begun.wait()
        with pytest.raises(OutputInUseError, match="another process writes to this output"):
            await run(served.app.target, texts(9), tmp_path)
        may_end.set()
        assert (await running).is_complete
        assert len(upstream.visits) == 1


async def test_stop_saves_what_was_sent(scripted: Scripted, tmp_path: Path) -> None:
    """After stop() nothing further is read, and the answers of the inputs that were sent are in the output."""
    many = texts(1000)
    source = Listed(many)
    async with scripted(answer) as (served, upstream):
        with Client(served.app.target) as client:
            options = BatchOptions(inputs_per_call=2, concurrent_calls=2)
            batch = Batch(client, MODEL, source, tmp_path, options)
            running = asyncio.create_task(asyncio.to_thread(batch.run))
            while batch.progress.embedded < 10 or batch.progress.total is None:
                await asyncio.sleep(0.01)
            batch.stop()
            summary = await running
        sent = len(upstream.visits)
        assert summary.progress.total == 1000
        assert not summary.is_complete
        assert summary.progress.embedded == sent == len(keys(tmp_path)) < 1000
        assert (await run(served.app.target, many, tmp_path)).is_complete
        assert len(upstream.visits) == 1000
    assert keys(tmp_path) == sorted(entry.key for entry in many)


async def test_stop_does_not_wait_for_a_source_that_blocks(served: Served, tmp_path: Path) -> None:
    """stop() ends a run whose source blocks and of which no input is open."""
    may_end = threading.Event()

    class Blocking(Listed):
        def __iter__(self) -> Iterator[Entry]:
            yield from super().__iter__()
            may_end.wait(60)

    with Client(served.app.target) as client:
        batch = Batch(client, MODEL, Blocking(texts(3)), tmp_path)
        running = asyncio.create_task(asyncio.to_thread(batch.run))
        while batch.progress.embedded < 3:
            await asyncio.sleep(0.01)
        batch.stop()
        summary = await asyncio.wait_for(running, 30)
        may_end.set()
    assert (summary.progress.embedded, summary.is_complete) == (3, False)


async def test_an_unreadable_source(served: Served, tmp_path: Path) -> None:
    """If the source cannot be read any further, its error is raised, and what was embedded before is in the output."""

    class Failing(Listed):
        def __iter__(self) -> Iterator[Entry]:
            yield from super().__iter__()
            raise OSError(5, "no more", "list.txt")

    with Client(served.app.target) as client, pytest.raises(OSError, match="no more"):
        await asyncio.to_thread(Batch(client, MODEL, Failing(texts(5)), tmp_path).run)
    assert len(keys(tmp_path)) == 5


async def test_vectors_of_other_dimensions(scripted: Scripted, tmp_path: Path) -> None:
    """A run whose server returns other vectors than those of the output is an error, and the output is not changed."""
    async with scripted(answer) as (served, _):
        await run(served.app.target, texts(1), tmp_path)

    async def create(_: object, __: object) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()  # of two values
        yield result()

    async def models(_: object, __: object) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=[pb.Model(name=MODEL, dimensions=512)])

    async with service(CreateEmbedding=create, ListModels=models) as target:
        with pytest.raises(OutputMismatchError, match="dimensions: the server returned"):
            await run(target, texts(2), tmp_path)
    assert keys(tmp_path) == ["key-0"]


async def test_unreadable_files(served: Served, tmp_path: Path) -> None:
    """A missing file is a permanent failure; a file whose storage fails for a moment is read again."""
    reads = 0

    class Chunks(RepeatableChunks):
        size = len(png())

        def __iter__(self) -> Iterator[bytes]:
            nonlocal reads
            reads += 1
            if reads == 1:
                raise ConnectionError
            yield png()

    entries = [
        Record("missing", Image(path=tmp_path / "none.png"), 1, "1"),
        Record("bucket", Image(chunks=Chunks(), file_name="a.png"), 1, "1"),
    ]
    summary = await run(served.app.target, entries, tmp_path / "out")
    assert (summary.is_complete, summary.progress.retries, summary.progress.failed) == (True, 1, 1)
    line = failures(tmp_path / "out")["missing"]
    assert (line["reason"], line["message"]) == (
        "INVALID_REQUEST",
        "image.source: cannot be read: No such file or directory",
    )
    assert line["fields"] == [{"field": "image.source", "description": "cannot be read: No such file or directory"}]
    assert keys(tmp_path / "out") == ["bucket"]
