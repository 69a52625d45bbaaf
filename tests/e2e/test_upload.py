"""Uploads: framing errors end the call, faults of a file fail its input."""

import asyncio
import contextlib
import hashlib
import os
import resource
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.rpc import call_context
from tests.support import media
from tests.support.messages import failed, request, results, segments, text_input, upload_input, url_input
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.tcp_server import tcp_server
from tests.support.upstreams import Visit, reply

Message = pb.CreateEmbeddingFromUploadRequest


def first(*inputs: pb.Input) -> Message:
    return Message(request=request(*inputs))


def chunks(index: int, data: bytes, size: int = 64 << 10) -> list[Message]:
    ends = range(size, len(data) + size, size)
    return [
        Message(chunk=pb.UploadChunk(input_index=index, data=data[end - size : end], last=end >= len(data)))
        for end in ends
    ]


async def send(served: Served, *messages: Message) -> list[Any]:
    async def each() -> AsyncGenerator[Message]:
        for message in messages:
            yield message

    return [event async for event in served.stub.CreateEmbeddingFromUpload(each(), timeout=30)]


@pytest.mark.parametrize("seconds", [2, 60], ids=["in-memory", "on-disk"])
async def test_files_and_other_inputs_are_answered(serve: Serve, tmp_path: Path, seconds: int) -> None:
    """Uploaded files give the same vectors as files in a message; other inputs are answered concurrently."""
    audio, picture = media.wav(seconds), media.png()
    checked = upload_input("audio", file_name="a.wav", size_bytes=len(audio), sha256=hashlib.sha256(audio).digest())
    async with serve(uploads_spool_dir=tmp_path) as served:
        asked = first(checked, text_input(), upload_input("image", file_name="b.png"))
        events = await send(served, asked, *chunks(0, audio), *chunks(2, picture, 1000))
        assert list(tmp_path.iterdir()) == []
    done = results(events)

    assert [done[index].HasField("failure") for index in range(3)] == [False] * 3
    assert done[0].metadata.input_filename == "a.wav"
    assert done[0].timings.HasField("upload")
    assert len([segment for segment in segments(events) if segment.input_index == 0]) == done[0].segment_count


async def test_the_body_is_sent_with_its_length(scripted: Scripted) -> None:
    """The upstream gets a Content-Length, and every byte of a file that was spooled to disk."""
    data = os.urandom(3 << 20)

    async def script(visit: Visit) -> None:
        await visit.answer(reply("image_embedding"))

    async with scripted(script) as (served, upstream):
        await send(served, first(upload_input("image", media_type="image/png")), *chunks(0, data, 300_000))
        visit = upstream.visits[0]

    assert int(visit.headers["content-length"]) == len(visit.body)
    assert data in visit.body
    assert b"Content-Type: image/png" in visit.body


FRAMING: dict[str, tuple[list[Message], str]] = {
    "nothing": ([], "request"),
    "no-request-first": (chunks(0, b"abc"), "request"),
    "two-requests": ([first(upload_input("image")), first(text_input())], "request"),
    "empty-message": ([first(upload_input("image")), Message()], "request"),
    "no-chunks": ([first(upload_input("image"))], "chunk"),
    "cut-short": ([first(upload_input("image")), *chunks(0, b"abc", 1)[:2]], "chunk"),
    "out-of-order": (
        [first(upload_input("image"), upload_input("audio")), *chunks(1, b"a"), *chunks(0, b"b")],
        "chunk.input_index",
    ),
    "for-no-input": ([first(upload_input("image")), *chunks(7, b"abc")], "chunk.input_index"),
    "for-a-text": ([first(text_input(), upload_input("image")), *chunks(0, b"abc")], "chunk.input_index"),
    "too-many": ([first(text_input()), *chunks(0, b"abc")], "chunk"),
}


@pytest.mark.parametrize(("messages", "field"), FRAMING.values(), ids=FRAMING)
async def test_broken_framing_ends_the_call(serve: Serve, tmp_path: Path, messages: list[Message], field: str) -> None:
    """INVALID_ARGUMENT names the message at fault, and no file is left on disk."""
    async with serve(uploads_spool_dir=tmp_path) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(served, *messages)
        assert list(tmp_path.iterdir()) == []
    failure = failed(caught.value)

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_UPLOAD_FRAMING")
    assert list(failure.fields) == [field]


async def test_broken_framing_while_another_input_is_answered(scripted: Scripted) -> None:
    """A framing error ends the call also while its first message is being written."""

    async def script(visit: Visit) -> None:
        await visit.pause(call_context.HALF_CLOSE_SECONDS)  # both happen at about the same time
        await visit.answer(reply())

    async with scripted(script) as (served, _):

        async def one() -> tuple[grpc.StatusCode, str]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(served, first(text_input(), upload_input("image")), *chunks(1, b"abc", 1)[:2])
            failure = failed(caught.value)
            return failure.code, failure.info.reason

        ends = [end for _ in range(10) for end in await asyncio.gather(*[one() for _ in range(10)])]
    assert set(ends) == {(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_UPLOAD_FRAMING")}


DATA = b"0123456789" * 200_000
FAULTS: dict[str, tuple[dict[str, Any], bytes, str, str]] = {
    "too-small": ({"size_bytes": len(DATA) + 1}, DATA, "UPLOAD_MISMATCH", "size_bytes"),
    "too-large": ({"size_bytes": len(DATA) - 1}, DATA, "UPLOAD_MISMATCH", "size_bytes"),
    "other-hash": ({"sha256": bytes(32)}, DATA, "UPLOAD_MISMATCH", "sha256"),
    "over-the-limit": ({}, DATA * 2, "CONTENT_TOO_LARGE", "upload"),
    "empty": ({}, b"", "UPLOAD_MISMATCH", "upload"),
}


@pytest.mark.parametrize(("source", "data", "reason", "field"), FAULTS.values(), ids=FAULTS)
async def test_a_faulty_file_fails_its_input_only(
    serve: Serve, tmp_path: Path, source: dict[str, Any], data: bytes, reason: str, field: str
) -> None:
    """A file with a wrong size or hash, or over the limit, fails alone; the rest of its chunks is discarded."""
    async with serve(uploads_spool_dir=tmp_path, request_limits_upload_bytes=3 << 20) as served:
        asked = first(upload_input("audio", **source), text_input(), upload_input("image"))
        sent = chunks(0, data) or [Message(chunk=pb.UploadChunk(last=True))]
        events = await send(served, asked, *sent, *chunks(2, media.png()))
        assert list(tmp_path.iterdir()) == []
    done = results(events)

    assert [done[index].HasField("failure") for index in range(3)] == [True, False, False]
    violation = done[0].failure.field_violations[0]
    assert violation.field.startswith("request.inputs[0].audio.source.upload")
    assert violation.field.endswith(field)
    assert f"ERROR_REASON_{reason}" in str(done[0].failure)
    assert done[0].attempts == 0


async def test_a_faulty_declaration_is_refused_at_once(served: Served) -> None:
    """A declared size over the limit or a hash of wrong length is INVALID_ARGUMENT before any chunk."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(served, first(upload_input("audio", size_bytes=1 << 40, sha256=b"short")))
    fields = failed(caught.value).fields

    path = "request.inputs[0].audio.source.upload"
    assert list(fields) == [f"{path}.size_bytes", f"{path}.sha256"]


async def test_a_cancelled_upload_leaves_no_file(serve: Serve, tmp_path: Path) -> None:
    """A cancelled upload closes and deletes its spooled file."""
    async with serve(uploads_spool_dir=tmp_path) as served:
        started = asyncio.Event()

        async def each() -> AsyncGenerator[Message]:
            yield first(upload_input("audio"))
            for chunk in chunks(0, bytes(5 << 20))[:-1]:
                yield chunk
            started.set()
            await asyncio.sleep(60)

        call = served.stub.CreateEmbeddingFromUpload(each(), timeout=30)
        reading = asyncio.ensure_future(call.read())
        await started.wait()
        await until(lambda: _is_open_below(tmp_path))
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: not _is_open_below(tmp_path))
        assert list(tmp_path.iterdir()) == []


async def test_more_files_than_concurrency_slots(serve: Serve) -> None:
    """A caller that sends faster than the upstream reads has to wait; all files are answered, in any order."""
    files = [media.png(color=(index, 0, 0)) for index in range(12)]
    async with serve(concurrency_inputs_per_call=2) as served:
        asked = first(*[upload_input("image")] * len(files))
        events = await send(served, asked, *[message for i, data in enumerate(files) for message in chunks(i, data)])

    assert sorted(results(events)) == list(range(12))
    assert not any(result.HasField("failure") for result in results(events).values())


async def test_a_large_upload_takes_little_memory_and_leaves_no_file(tmp_path: Path) -> None:
    """100 MB are uploaded with little more memory, and a killed server leaves no file in the spool."""
    size, piece = 100 << 20, bytes(256 << 10)

    def each(until: int) -> Iterator[Message]:
        yield first(upload_input("audio", file_name="silence.wav", size_bytes=size))
        for sent in range(0, until, len(piece)):
            yield Message(chunk=pb.UploadChunk(data=piece, last=sent + len(piece) >= size))

    async def script(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding"))

    async with ServerProcess.running(script, uploads_spool_dir=tmp_path) as server:
        stub = server.stub
        await anext(aiter(stub.CreateEmbedding(request(url_input("audio", "http://media.test/a")), timeout=20)))
        before = server.peak_memory()
        events = [event async for event in stub.CreateEmbeddingFromUpload(each(size), timeout=60)]
        grown = server.peak_memory() - before
        assert results(events)[0].segment_count == 1
        assert grown < 50 << 20  # 10 MB; more if the server reads in larger steps on a busy machine

        half = stub.CreateEmbeddingFromUpload(each(size // 2), timeout=60)
        reading = asyncio.ensure_future(half.read())
        async with asyncio.timeout(20):
            while not server.open_spools():
                await asyncio.sleep(0.02)
        server.kill()
        await asyncio.gather(reading, return_exceptions=True)
        assert list(tmp_path.iterdir()) == []


async def test_a_refusal_in_the_middle_of_a_file_is_reported() -> None:
    """An early response of an upstream that then closes is read, unless it coincides with a write."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    reasons: list[str] = []
    async with tcp_server(refuse) as port, ServerProcess.running(upstream=f"http://127.0.0.1:{port}") as server:
        for _ in range(30):
            asked = [first(upload_input("audio", file_name="a.wav")), *chunks(0, bytes(40_000))]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(server.stub.CreateEmbeddingFromUpload(iter(asked), timeout=20)))
            reasons.append(failed(caught.value).info.reason)

    assert reasons.count("CONTENT_TOO_LARGE") >= 24


def _is_open_below(directory: Path) -> bool:
    """Whether this process, which runs the server, has an open file in this directory, also a deleted one."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(link.readlink()))
    return any(link.startswith(f"{directory}/") for link in links)


async def test_an_invalid_request_is_reported_to_a_sending_caller(served: Served) -> None:
    """A caller that is still sending gets the violation, not a failed write."""
    asked = Message(request=pb.CreateEmbeddingRequest(model_name="nope", inputs=[upload_input("audio")]))
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(served, asked, *chunks(0, bytes(8 << 20)))
        assert "request.model_name" in failed(caught.value).fields


@pytest.mark.parametrize("size", [1000, 300_000], ids=["small-chunks", "large-chunks"])
async def test_a_full_disk_fails_the_file_and_is_logged_without_it(
    serve: Serve, tmp_path: Path, size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a full disk the input fails with OVERLOADED, other inputs continue, and the log has no byte of the file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with serve(uploads_spool_dir=tmp_path) as served:
        asked = first(upload_input("audio"), text_input())
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
            events = await send(served, asked, *chunks(0, b"CANARY" * 500_000, size))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    done = results(events)

    assert [done[index].HasField("failure") for index in range(2)] == [True, False]
    assert "ERROR_REASON_OVERLOADED" in str(done[0].failure)
    assert done[0].failure.cause == "disk_full"
    log = "".join(capfd.readouterr())
    assert "an upload cannot be spooled" in log
    assert "CANARY" not in log
