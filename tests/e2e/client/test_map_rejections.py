"""Runs of `map` whose calls the server rejects: the inputs are sent again, with the same content."""

import asyncio
import hashlib
import io
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from embedwire import Audio, Image, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import Connect, mapped
from tests.e2e.client.services import Context, ReceivedFile, Recorder, end_with, rejection, service
from tests.e2e.client.uploads import LARGE, SMALL, Repeatable, from_pipe, in_pieces, named_pipe, standing, written

REJECTED = rejection("OVERLOADED", 0.01)


@pytest.mark.parametrize("reason", ["OVERLOADED", "RATE_LIMITED", "DRAINING"])
async def test_rejected_inputs_are_sent_until_they_are_accepted(connect: Connect, reason: str) -> None:
    """Inputs of rejected calls are sent again as often as it takes, and end once."""
    recorder = Recorder([rejection(reason, 0.01)] * 7)
    async with recorder.serving() as target, connect(target) as client:
        asked = [Text(f"{number}") for number in range(9)]
        found = await mapped(client.map("m", asked, inputs_per_call=2, concurrent_calls=3))

    assert len(found) == 9
    assert all(embedding.failure is None for embedding in found.values())
    accepted = recorder.requests[7:]
    assert sorted(item.text.value for request in accepted for item in request.inputs) == [f"{n}" for n in range(9)]


async def test_an_input_that_would_wait_too_long_ends(connect: Connect) -> None:
    """With count_waits an input ends as soon as its wait would outlast its deadline; later ones are not affected."""
    recorder = Recorder([rejection("RATE_LIMITED", 30)])
    async with recorder.serving() as target, connect(target) as client:
        embeddings = client.map("m", [Text("a")], timeout=20, count_waits=True)
        found = await asyncio.wait_for(mapped(embeddings), 10)

    failure = found[0].failure
    assert failure is not None
    assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert len(recorder.requests) == 1


LARGE_SOURCES: dict[str, Any] = {
    "path": lambda path: {"path": written(path, LARGE)},
    "bytes": lambda _: {"data": LARGE},
    "file": lambda path: {"file": standing(path, LARGE)},
    "file in memory": lambda _: {"file": io.BytesIO(LARGE)},
    "chunks of a known size": lambda _: {"chunks": Repeatable(LARGE)},
}


@pytest.mark.parametrize("source", LARGE_SOURCES)
async def test_an_upload_is_sent_again_from_where_it_began(connect: Connect, tmp_path: Path, source: str) -> None:
    """A rejected upload that can be read again is: a seekable file from its first position, with the same bytes."""
    recorder = Recorder([REJECTED, REJECTED])
    async with recorder.serving() as target, connect(target) as client:
        asked = Audio(**LARGE_SOURCES[source](tmp_path / "a.wav"))
        found = await mapped(client.map("m", [asked], chunk_bytes=100_000))
    if asked.file is not None:
        asked.file.close()

    assert found[0].failure is None
    assert [file.is_complete for file in recorder.files] == [False, False, True]
    assert recorder.files[2].hash.digest() == hashlib.sha256(LARGE).digest()


async def test_an_inline_file_is_sent_again_whole(connect: Connect, tmp_path: Path) -> None:
    """A seekable file that travels in the request is read again from its first position."""
    recorder = Recorder([REJECTED])
    async with recorder.serving() as target, connect(target) as client:
        with standing(tmp_path / "a.png", SMALL) as file:
            found = await mapped(client.map("m", [Image(file=file)]))

    assert found[0].failure is None
    sent = [request.inputs[0].image.source.file.data for request in recorder.requests]
    assert sent == [SMALL, SMALL]


async def test_small_chunks_of_a_known_size_share_a_call(connect: Connect) -> None:
    """Chunks whose size is known are sent inline like small files, in one call, and again after a rejection."""
    recorder = Recorder([REJECTED])
    async with recorder.serving() as target, connect(target) as client:
        found = await mapped(client.map("m", [Image(chunks=Repeatable(SMALL)) for _ in range(4)]))

    assert all(embedding.failure is None for embedding in found.values())
    sent = [[item.image.source.file.data for item in request.inputs] for request in recorder.requests]
    assert sent == [[SMALL] * 4] * 2


ONCE: dict[str, Any] = {
    "named pipe": lambda path: {"path": named_pipe(path, LARGE)},
    "pipe": lambda _: {"file": from_pipe(LARGE)},
    "generator": lambda _: {"chunks": in_pieces(LARGE)},
    "list": lambda _: {"chunks": list(in_pieces(LARGE))},
}


@pytest.mark.parametrize("source", ONCE)
async def test_a_source_that_can_be_read_once_is_not_sent_again(connect: Connect, tmp_path: Path, source: str) -> None:
    """An input of which bytes may have been read ends with the rejection as its failure."""
    recorder = Recorder([REJECTED])
    async with recorder.serving() as target, connect(target) as client:
        arguments = ONCE[source](tmp_path / "pipe")
        found = await mapped(client.map("m", [Audio(**arguments)], chunk_bytes=1000))
        if "file" in arguments:
            arguments["file"].close()

    failure = found[0].failure
    assert failure is not None
    assert (failure.reason, failure.retry_delay) == ("OVERLOADED", 0.01)
    assert len(recorder.files) == 1


class Blocking(io.BytesIO):
    """A seekable file whose second read blocks until it is released, and that knows how many readers it has."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.is_blocked, self.is_released = threading.Event(), threading.Event()
        self.readers = self.most_readers = self.reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.readers += 1
        self.reads += 1
        self.most_readers = max(self.most_readers, self.readers)
        if self.reads == 2:
            self.is_blocked.set()
            self.is_released.wait(60)
        self.readers -= 1
        return super().read(size)


def rejecting_while(file: Blocking, recorder: Recorder) -> Any:
    """An upload that is rejected once, while the file is being read, and then accepted."""

    async def upload(messages: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingFromUploadResponse]:
        if not recorder.files:
            recorder.files.append(ReceivedFile(0))
            await asyncio.to_thread(file.is_blocked.wait, 30)
            await end_with(context, REJECTED)
        async for response in recorder.upload(messages, context):
            yield response

    return service(CreateEmbeddingFromUpload=upload)


async def test_a_file_is_not_rewound_while_it_is_read(connect: Connect) -> None:
    """A rejected upload is sent again after the read that was in progress: there are never two readers."""
    file, recorder = Blocking(LARGE), Recorder()
    async with rejecting_while(file, recorder) as target, connect(target) as client:
        running = asyncio.create_task(mapped(client.map("m", [Audio(file=file)], chunk_bytes=1000)))
        await asyncio.to_thread(file.is_blocked.wait, 30)
        file.is_released.set()
        found = await asyncio.wait_for(running, 30)

    assert found[0].failure is None
    assert recorder.files[1].hash.digest() == hashlib.sha256(LARGE).digest()
    assert file.most_readers == 1


async def test_a_file_whose_reader_is_blocked_is_not_waited_for(connect: Connect) -> None:
    """If the read of a rejected upload does not return, the input ends with the rejection."""
    file, recorder = Blocking(LARGE), Recorder()
    async with rejecting_while(file, recorder) as target, connect(target) as client:
        found = await asyncio.wait_for(mapped(client.map("m", [Audio(file=file)], chunk_bytes=1000)), 30)
        file.is_released.set()

    assert found[0].failure is not None
    assert found[0].failure.reason == "OVERLOADED"
    assert len(recorder.files) == 1
