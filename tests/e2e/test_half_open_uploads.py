"""Uploads that stop, trickle or never end: each is ended within limits, and none delays the others."""

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.rpc.upload_stream import DRAIN_BYTES, MAX_DISCARDED_BYTES, MAX_EMPTY_CHUNKS
from tests.support import http2, media
from tests.support.messages import failed, request, results, text_input, upload_input
from tests.support.pki import bearer, sha256
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.upstreams import Visit, reply

Message = pb.CreateEmbeddingFromUploadRequest
MIB = 1 << 20
PICTURE = media.png()
TOKENS = ({"name": "a", "sha256": sha256("a")}, {"name": "b", "sha256": sha256("b")})
OWN = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
# What is received ahead of the server: a window and a message that gRPC assembles (5 MiB), and the kernel's buffers.
IN_FLIGHT = 16 * MIB


def first(*inputs: pb.Input) -> Message:
    return Message(request=request(*inputs))


def chunk(data: bytes, index: int = 0, *, last: bool = False) -> Message:
    return Message(chunk=pb.UploadChunk(input_index=index, data=data, last=last))


async def paused(*messages: Message) -> AsyncGenerator[Message]:
    """These messages, and then nothing more, without an end."""
    for message in messages:
        yield message
    await asyncio.Event().wait()


Messages = Callable[[threading.Event], Iterable[Message]]  # until the event is set


def then_nothing(*messages: Message) -> Messages:
    """These messages, and then nothing more, without an end."""

    def sent(stop: threading.Event) -> Iterator[Message]:
        yield from messages
        stop.wait()

    return sent


def repeated(seconds: float, each: Message, *before: Message) -> Messages:
    """These messages, and then endless repetitions of one."""

    def sent(stop: threading.Event) -> Iterator[Message]:
        yield from before
        while not stop.wait(seconds):
            yield each

    return sent


async def ended(served: Served, messages: Messages) -> grpc.aio.AioRpcError:
    """Call with the synchronous client: the asynchronous one can report a failed write instead of the status."""

    def call() -> Any:
        stop = threading.Event()
        try:
            with grpc.insecure_channel(served.app.target) as channel:
                stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
                with pytest.raises(grpc.RpcError) as caught:
                    list(stub.CreateEmbeddingFromUpload(iter(messages(stop)), timeout=40))
        finally:
            stop.set()
        return caught.value

    return await asyncio.to_thread(call)  # with the attributes of AioRpcError


HALVES: dict[str, tuple[tuple[Message, ...], int]] = {
    "400 bytes each": ((first(upload_input("image")), chunk(bytes(400))), 255),
    "declared and not sent": ((first(upload_input("image", size_bytes=32 * MIB)),), 255),
    "one file of 256": ((first(*[upload_input("image")] * 256), chunk(bytes(1000))), 16),
}


@pytest.mark.parametrize("other", ["a", "b"], ids=["same token", "other token"])
@pytest.mark.parametrize(("messages", "count"), HALVES.values(), ids=HALVES)
async def test_half_open_uploads_do_not_delay_others(
    serve: Serve, messages: tuple[Message, ...], count: int, other: str
) -> None:
    """Uploads that have sent little reserve no memory, and other uploads are answered at the same time."""
    started = {"grpc_method": "CreateEmbeddingFromUpload"}
    async with (
        serve(tokens=TOKENS) as served,
        grpc.aio.insecure_channel(served.app.target, OWN) as theirs,
        grpc.aio.insecure_channel(served.app.target, OWN) as hostile,
    ):
        stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(theirs)
        heavy: Any = embedding_pb2_grpc.EmbeddingServiceStub(hostile)

        async def upload() -> bool:
            sent = iter([first(upload_input("image")), chunk(PICTURE, last=True)])
            call = stub.CreateEmbeddingFromUpload(sent, metadata=bearer(other), timeout=30)
            return not results([event async for event in call])[0].HasField("failure")

        calls = [
            heavy.CreateEmbeddingFromUpload(paused(*messages), metadata=bearer("a"), timeout=60) for _ in range(count)
        ]
        reading = [asyncio.ensure_future(call.read()) for call in calls]
        await until(lambda: served.metric("embedwire_inputs_in_flight") >= count, 30)
        assert served.metric("embedwire_buffered_bytes") < MIB
        assert all(await asyncio.gather(*[upload() for _ in range(20)]))
        assert not any(task.done() for task in reading)
        for call in calls:
            call.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await until(lambda: served.metric("grpc_server_handled_total", **started) == count + 20)
        assert served.metric("embedwire_buffered_bytes") == 0


ONE = first(upload_input("audio", file_name="a.wav"))
STALLS: dict[str, Messages] = {
    "no chunk": then_nothing(ONE),
    "half of a file": then_nothing(ONE, chunk(bytes(2 * MIB))),
    "a byte now and then": repeated(0.1, chunk(b"x"), ONE),
    "an empty chunk now and then": repeated(0.1, chunk(b""), ONE),
    "a file that has failed already": repeated(
        0.05, chunk(bytes(100)), first(upload_input("audio", size_bytes=10), text_input())
    ),
    "the second file": then_nothing(
        first(upload_input("image"), upload_input("image")), chunk(PICTURE, last=True), chunk(b"x", 1)
    ),
}


@pytest.mark.parametrize("messages", STALLS.values(), ids=STALLS)
async def test_a_stalled_upload_is_ended(serve: Serve, tmp_path: Path, messages: Messages) -> None:
    """After `uploads_idle_timeout` the call ends with the field and the limit, and leaves nothing behind."""
    async with serve(uploads_idle_timeout=1.0, uploads_spool_dir=tmp_path) as served:
        failure = failed(await ended(served, messages))
        await until(lambda: served.metric("embedwire_inputs_in_flight") == 0)
        assert served.metric("embedwire_buffered_bytes") == 0

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "CALLER_STALLED")
    assert "upload" in next(iter(failure.fields))
    assert "1 s (uploads.idle_timeout)" in failure.message


async def test_a_slow_upload_is_not_stalled(serve: Serve) -> None:
    """A slow upload at or above the minimum rate may take longer than the timeout, and is answered."""
    audio = media.wav(5)
    pieces = [audio[at : at + 20_000] for at in range(0, len(audio), 20_000)]

    async def slowly() -> AsyncGenerator[Message]:
        yield ONE
        for number, piece in enumerate(pieces):
            await asyncio.sleep(0.5)
            yield chunk(piece, last=number == len(pieces) - 1)

    async with serve(uploads_idle_timeout=3.0) as served:
        events = [event async for event in served.stub.CreateEmbeddingFromUpload(slowly(), timeout=60)]

    assert len(pieces) * 0.5 > 3.0
    assert not results(events)[0].HasField("failure")


@pytest.mark.parametrize("source", [{}, {"size_bytes": 1000}], ids=["over the limit", "longer than declared"])
async def test_the_rest_of_a_file_that_has_failed_is_not_a_stall(serve: Serve, source: dict[str, Any]) -> None:
    """A failed file whose rest arrives at the minimum rate fails its own input only; the next input has its result."""

    async def messages() -> AsyncGenerator[Message]:
        yield first(upload_input("image", **source), upload_input("image"))
        for _ in range(30):
            yield chunk(bytes(4_000))
            await asyncio.sleep(0.1)
        yield chunk(b"", last=True)
        yield chunk(PICTURE, 1, last=True)

    async with serve(request_limits_image_bytes=10_000, uploads_idle_timeout=2.0) as served:
        events = [event async for event in served.stub.CreateEmbeddingFromUpload(messages(), timeout=60)]

    assert results(events)[0].HasField("failure")
    assert not results(events)[1].HasField("failure")


MISTAKES: dict[str, list[Message]] = {
    "the wrong file": [first(upload_input("audio")), *[chunk(bytes(100_000), 1)] * 100],
    "a second request": [first(upload_input("audio")), *[first(upload_input("audio"))] * 100],
    "chunks after the last one": [first(upload_input("image")), chunk(PICTURE, last=True), *[chunk(PICTURE)] * 100],
    "empty chunks": [first(upload_input("image")), *[chunk(b"")] * 300],
}


@pytest.mark.parametrize("messages", MISTAKES.values(), ids=MISTAKES)
async def test_a_framing_error_is_reported_to_a_caller_that_continues(serve: Serve, messages: list[Message]) -> None:
    """The asynchronous client, which can report a failed write, gets the status of a framing error as well."""
    async with serve() as served:
        for _ in range(10):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in served.stub.CreateEmbeddingFromUpload(paused(*messages), timeout=40):
                    pass
            assert failed(caught.value).info.reason == "INVALID_UPLOAD_FRAMING"


async def test_waiting_for_the_upstream_is_not_a_stall(scripted: Scripted) -> None:
    """An upload that waits for a slot, because the files before it are not done, does not time out."""

    async def script(visit: Visit) -> None:
        await asyncio.sleep(delays.pop() if delays else 0)
        await visit.answer(reply("image_embedding"))

    delays = [5.0]
    async with scripted(script, concurrency_inputs_per_call=1, uploads_idle_timeout=4.0) as (served, _):
        sent = [first(*[upload_input("image")] * 3), *[chunk(PICTURE, index, last=True) for index in range(3)]]
        events = [event async for event in served.stub.CreateEmbeddingFromUpload(iter(sent), timeout=60)]

    assert not any(result.HasField("failure") for result in results(events).values())


def endless(*inputs: pb.Input, model: str = "marengo3.0") -> tuple[Message, Message]:
    """A request, followed by an endless repetition of the chunk."""
    return Message(request=request(*inputs, model=model)), chunk(bytes(MIB))


ENDLESS: dict[str, tuple[tuple[Message, Message], str, int]] = {
    "longer than declared": (endless(upload_input("audio", size_bytes=1000)), "UPLOAD_MISMATCH", DRAIN_BYTES),
    "over the limit": (endless(upload_input("image")), "CONTENT_TOO_LARGE", 4 * MIB + DRAIN_BYTES),
    "an invalid request": (endless(upload_input("audio"), model="nope"), "INVALID_REQUEST", DRAIN_BYTES),
    "one file of several": (
        endless(upload_input("audio", size_bytes=1000), text_input()),
        "UPLOAD_MISMATCH",
        MAX_DISCARDED_BYTES + DRAIN_BYTES,
    ),
    "the wrong file": (endless(text_input(), text_input()), "INVALID_UPLOAD_FRAMING", DRAIN_BYTES),
}


@pytest.mark.parametrize(("messages", "reason", "most"), ENDLESS.values(), ids=ENDLESS)
async def test_a_failed_upload_is_not_read_without_limit(
    serve: Serve, messages: tuple[Message, Message], reason: str, most: int
) -> None:
    """A caller that continues after the failure gets its status after a limited number of bytes."""
    start, each = messages
    async with serve(request_limits_image_bytes=4 * MIB) as served:
        failure = failed(await ended(served, lambda _: itertools.chain([start], itertools.repeat(each))))
        async with http2.Connection.open(served.app.target) as connection:
            sender = http2.Sender(connection)
            following = asyncio.ensure_future(sender.follow())
            await connection.send(http2.call("/embedwire.v1.EmbeddingService/CreateEmbeddingFromUpload", 1))
            await sender.send(http2.message(start.SerializeToString()))
            while not sender.is_ended:
                await sender.send(http2.message(each.SerializeToString()))
            await following

    assert failure.info.reason == reason
    assert sender.sent <= most + IN_FLIGHT


@pytest.mark.parametrize("source", [{"size_bytes": 10}, {}], ids=["longer than declared", "over the limit"])
async def test_a_single_upload_that_has_failed_ends_as_soon_as_its_caller_pauses(
    serve: Serve, source: dict[str, Any]
) -> None:
    """With one input, the failure of its file is the call's status, without waiting for the last chunk."""
    async with serve(request_limits_image_bytes=1000, uploads_idle_timeout=600) as served:
        failure = failed(await ended(served, then_nothing(first(upload_input("image", **source)), chunk(bytes(2000)))))

    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("size", [0, 100], ids=["from the start", "in the middle"])
async def test_empty_chunks_are_limited(serve: Serve, size: int) -> None:
    """Some consecutive empty chunks are accepted; more than the limit end the call, and the message names it."""
    before = [first(upload_input("image")), chunk(PICTURE[:size])]
    some, more = [chunk(b"")] * (MAX_EMPTY_CHUNKS - 1), [chunk(b"")] * (MAX_EMPTY_CHUNKS + 1)
    async with serve() as served:
        good = [*before, *some, chunk(PICTURE[size:], last=True)]
        events = [event async for event in served.stub.CreateEmbeddingFromUpload(iter(good), timeout=30)]
        failure = failed(await ended(served, then_nothing(*before, *more)))

    assert not results(events)[0].HasField("failure")
    assert failure.info.reason == "INVALID_UPLOAD_FRAMING"
    assert f"more than {MAX_EMPTY_CHUNKS} empty chunks" in failure.message


async def test_uploads_complete_when_memory_is_short(serve: Serve, tmp_path: Path) -> None:
    """Many half-received uploads that use up all the memory for uploads are all completed."""
    audio = media.wav(20)
    half = len(audio) // 2
    async with serve(
        concurrency_max_buffered_bytes=2 * MIB, request_limits_message_bytes=MIB, uploads_spool_dir=tmp_path
    ) as served:
        go_on = asyncio.Event()

        async def upload() -> bool:
            async def messages() -> AsyncGenerator[Message]:
                yield ONE
                yield chunk(audio[:half])
                await go_on.wait()
                yield chunk(audio[half:], last=True)

            call = served.stub.CreateEmbeddingFromUpload(messages(), timeout=60)
            return not results([event async for event in call])[0].HasField("failure")

        uploads = [asyncio.ensure_future(upload()) for _ in range(40)]
        await until(lambda: served.metric("embedwire_inputs_in_flight") == 40)
        await until(lambda: served.metric("embedwire_buffered_bytes") <= 2 * MIB)
        text = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
        await served.stub.CreateEmbeddingUnary(text, timeout=20)
        go_on.set()
        assert all(await asyncio.gather(*uploads))
        assert served.metric("embedwire_buffered_bytes") == 0
