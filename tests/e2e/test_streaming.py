"""Streaming: segments reach the caller while the upstream still sends, and cancelled calls abort the upstream."""

import asyncio
import contextlib
import json
from pathlib import Path

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support import media
from tests.support.messages import events_of, failed, file_input, request, results, segments, text_input, url_input
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.tcp_server import tcp_server
from tests.support.upstreams import Visit, reply


@pytest.mark.parametrize("most", [0, 1, 5, 1000])
async def test_segments_share_messages(serve: Serve, most: int) -> None:
    """A message has at most the requested number of segments, and all arrive in order; by default it has one event."""
    async with serve() as served:
        asked = request(file_input("audio", media.wav(60)), text_input(), max_segments_per_message=most)
        responses = [response async for response in served.stub.CreateEmbedding(asked, timeout=30)]
    sizes = [len(response.events) for response in responses]
    of_audio = [segment.segment_index for segment in segments(responses) if segment.input_index == 0]

    assert of_audio == list(range(results(responses)[0].segment_count))
    assert max(sizes) <= max(1, most)
    assert (max(sizes) > 1) is (most > 1)
    assert results(responses).keys() == {0, 1}


async def test_a_text_and_its_result_share_a_message(serve: Serve) -> None:
    """With more than one segment in a message, the answer to a text is a single message."""
    async with serve() as served:
        call = served.stub.CreateEmbedding(request(text_input(), max_segments_per_message=2), timeout=20)
        responses = [response async for response in call]
    assert [event.WhichOneof("event") for event in events_of(responses)] == ["segment", "result"]
    assert len(responses) == 1


async def test_first_segment_comes_before_the_last_byte(scripted: Scripted) -> None:
    """A caller receives the first segment while the upstream holds back the rest of its reply."""
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    rest_is_wanted = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.head(length=len(body))
        await visit.send(body[: len(body) // 2])
        await rest_is_wanted.wait()
        await visit.send(body[len(body) // 2 :])

    async with scripted(script) as (served, _):
        call = served.stub.CreateEmbedding(request(url_input("audio", "http://media.test/a.mp3")), timeout=20)
        events = aiter(call)
        first = await anext(events)
        assert first.events[0].segment.audio.end_offset_sec == 6
        rest_is_wanted.set()
        rest = [event async for event in events]

    assert [segment.segment_index for segment in segments(rest)] == [1, 2]
    assert results(rest)[0].segment_count == 3


@pytest.mark.parametrize("inputs", [1, 3])
async def test_a_stream_has_a_message_for_each_event_and_no_other(served: Served, inputs: int) -> None:
    """The last message is the last result, sent with the status: no message is missing, repeated or empty."""
    call = served.stub.CreateEmbedding(request(*[text_input()] * inputs), timeout=20)
    events = [response.events[0].WhichOneof("event") async for response in call]

    assert sorted(map(str, events)) == ["result"] * inputs + ["segment"] * inputs
    assert events[-1] == "result"


async def test_inputs_interleave_and_each_keeps_its_order(served: Served) -> None:
    """Each input of a mixed call gets one result, after its segments in order."""
    inputs = [
        file_input("audio", media.wav(30), "long.wav"),
        text_input("one", key="first text"),
        file_input("image", media.png(), "picture.png"),
        text_input("two", key="second text"),
    ]
    events = [event async for event in served.stub.CreateEmbedding(request(*inputs), timeout=20)]

    done = results(events)
    assert sorted(done) == [0, 1, 2, 3]
    assert not any(result.HasField("failure") for result in done.values())
    for index, result in done.items():
        mine = [segment for segment in segments(events) if segment.input_index == index]
        assert [segment.segment_index for segment in mine] == list(range(result.segment_count))
        assert {segment.input_key for segment in mine} == {result.input_key}
        last = max(place for place, event in enumerate(events_of(events)) if event.segment in mine)
        assert last < next(place for place, event in enumerate(events_of(events)) if event.result == result)
    assert done[0].segment_count == 10
    assert done[0].metadata.input_filename == "long.wav"
    assert (done[1].input_key, done[3].input_key) == ("first text", "second text")


async def test_facts_of_the_upstream_are_passed_on(scripted: Scripted) -> None:
    """Offsets, embedding options, metadata, the upstream's model name and attempts are passed on."""
    body = reply("audio_embedding", segments=2, metadata={"input_url": "http://media.test/a.mp3"})
    body["audio_embedding"]["segments"][1] = {
        "float": [0.25] * 512,
        "start_offset_sec": 1.5,
        "embedding_option": "transcription",
    }

    async def script(visit: Visit) -> None:
        await visit.answer(body)

    async with scripted(script) as (served, upstream):
        source = pb.MediaSource(url="http://media.test/a.mp3")
        audio = pb.Input(key="k", audio=pb.AudioInput(source=source, start_offset_sec=1.5))
        events = [event async for event in served.stub.CreateEmbedding(request(audio), timeout=20)]

    first, second = segments(events)
    assert (first.audio.start_offset_sec, first.audio.end_offset_sec, first.audio.embedding_option) == (0, 6, "audio")
    assert (second.audio.start_offset_sec, second.audio.embedding_option) == (1.5, "transcription")
    assert not second.audio.HasField("end_offset_sec")
    result = results(events)[0]
    assert (result.model_name, result.dimensions, result.attempts) == ("marengo3.0", 512, 1)
    assert (result.metadata.input_url, result.upstream) == ("http://media.test/a.mp3", "custom")
    assert b'name="audio_start_offset_sec"\r\n\r\n1.5\r\n' in upstream.visits[0].body


async def _held(visit: Visit) -> None:
    await visit.gone()


async def _half_sent(visit: Visit) -> None:
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    await visit.head(length=len(body))
    await visit.send(body[: len(body) // 2])
    await visit.gone()


@pytest.mark.parametrize("script", [_held, _half_sent], ids=["before-headers", "in-the-middle"])
async def test_a_cancelled_call_aborts_the_upstream_call(scripted: Scripted, script: object) -> None:
    """A cancelled call closes its upstream connection, and leaves nothing in flight."""
    async with scripted(script) as (served, upstream):
        call = served.stub.CreateEmbedding(request(url_input("audio", "http://media.test/a.mp3")), timeout=20)
        reading = asyncio.ensure_future(call.read())
        while not upstream.visits:
            await asyncio.sleep(0.01)
        if script is _half_sent:
            await reading
        call.cancel()
        await asyncio.wait_for(upstream.visits[0].gone(), 20)
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="CANCELLED") == 1)
        assert served.metric("embedwire_inputs_in_flight") == 0
        assert served.metric("embedwire_inputs_total", reason="CANCELLED") == 1
        assert served.metric("embedwire_upstream_requests_total", reason="CANCELLED") == 1


async def test_cancelling_a_blocked_stream_aborts_the_upstream_call(scripted: Scripted) -> None:
    """Cancelling a call whose handler is blocked in a write closes its upstream connection."""
    element = json.dumps({"float": [0.123456789] * 512, "start_offset_sec": 0}).encode()

    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.send(b'{"audio_embedding":{"segments":[' + element)
        while not visit.closed.is_set():
            await visit.send(b"," + element)

    async with scripted(script) as (served, upstream):
        call = served.stub.CreateEmbedding(request(url_input("audio", "http://media.test/a.mp3")), timeout=30)
        await call.read()
        await until(lambda: _is_parked(upstream.visits[0]))
        call.cancel()
        await asyncio.wait_for(upstream.visits[0].gone(), 20)
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="CANCELLED") == 1)
        assert served.metric("embedwire_inputs_in_flight") == 0


@pytest.mark.parametrize("script", [_held, _half_sent], ids=["before-headers", "in-the-middle"])
async def test_the_deadline_ends_a_call_that_hangs(scripted: Scripted, script: object) -> None:
    """A call that reaches its caller's deadline is DEADLINE_EXCEEDED and closes the upstream connection."""
    async with scripted(script) as (served, upstream):
        call = served.stub.CreateEmbedding(request(url_input("audio", "http://media.test/a.mp3")), timeout=4)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        await asyncio.wait_for(upstream.visits[0].gone(), 20)
        # CANCELLED if the caller's own timer ended the call first: the server's begins a moment later
        codes = ("DEADLINE_EXCEEDED", "CANCELLED")
        await until(lambda: sum(served.metric("grpc_server_handled_total", grpc_code=code) for code in codes) == 1)
        assert served.metric("embedwire_inputs_in_flight") == 0

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_one_bad_input_does_not_affect_the_others(served: Served) -> None:
    """With several inputs a failure is in its result, with the upstream's code and message, and the call is OK."""
    inputs = [text_input("fine"), file_input("image", b"no image"), file_input("audio", media.flac(8), "a.flac")]
    call = served.stub.CreateEmbedding(request(*inputs), timeout=20)
    events = [event async for event in call]

    done = results(events)
    assert await call.code() is grpc.StatusCode.OK
    assert [done[index].HasField("failure") for index in range(3)] == [False, True, False]
    failure = done[1].failure
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (failure.upstream_error.http_status, failure.upstream_error.code) == (400, "parameter_invalid")
    assert "image_file" in failure.message


async def test_the_failure_of_the_only_input_is_the_status(served: Served) -> None:
    """With one input its failure is the call's status, with the upstream's facts in the details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in served.stub.CreateEmbedding(request(file_input("image", b"no image")), timeout=20):
            pass
    failure = failed(caught.value)

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (failure.info.domain, failure.info.reason) == ("embedwire.dev", "INPUT_REJECTED")
    assert failure.failure.upstream_error.code == "parameter_invalid"
    assert failure.trailers["embedwire-upstream"] == "sandbox"


async def test_the_request_id_is_returned(served: Served) -> None:
    """A valid x-request-id is kept and any other is replaced, in successful and failed calls."""
    for offered, kept in [("my-id_1.2:3", True), ("with space", False), ("x" * 65, False)]:
        call = served.stub.CreateEmbedding(request(text_input()), metadata=[("x-request-id", offered)], timeout=20)
        async for _ in call:
            pass
        given = dict(await call.trailing_metadata())["x-request-id"]
        assert (given == offered) is kept
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.CreateEmbeddingUnary(pb.CreateEmbeddingUnaryRequest(), metadata=[("x-request-id", "mine")])
    assert failed(caught.value).trailers["x-request-id"] == "mine"


async def test_unary_gives_everything_in_one_message(served: Served) -> None:
    """CreateEmbeddingUnary returns results in the order of inputs, each with its segments, or with none if failed."""
    inputs = [text_input("a"), file_input("image", b"broken"), file_input("audio", media.mp3(13), "a.mp3")]
    asked = pb.CreateEmbeddingUnaryRequest(
        model_name="marengo3.0", inputs=inputs, vector_encoding=pb.VECTOR_ENCODING_FLOAT32_LE
    )
    answer = await served.stub.CreateEmbeddingUnary(asked, timeout=20)

    assert [len(embedding.segments) for embedding in answer.embeddings][:2] == [1, 0]
    assert [embedding.result.input_index for embedding in answer.embeddings] == [0, 1, 2]
    assert answer.embeddings[1].result.failure.message
    assert len(answer.embeddings[0].segments[0].vector.float32_le) == 4 * 512


async def test_unary_refuses_an_answer_over_4_mib(scripted: Scripted) -> None:
    """An answer over 4 MiB is RESOURCE_EXHAUSTED, and the message names CreateEmbedding."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", segments=2100))

    async with scripted(script) as (served, _):
        asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[url_input("audio", "http://a.test/a")])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(asked, timeout=20)
    failure = failed(caught.value)

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REPLY_TOO_LARGE")
    assert "CreateEmbedding" in failure.message


async def test_models_are_paged(served: Served) -> None:
    """ListModels returns the complete table in pages."""
    names: list[str] = []
    token = ""
    while True:
        page = await served.stub.ListModels(pb.ListModelsRequest(page_size=1, page_token=token), timeout=60)
        names += [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            break

    assert names == ["marengo3.0", "marengo3.5", "Marengo-retrieval-2.7"]


@pytest.mark.parametrize("name", ["Marengo-retrieval-2.7", "marengo-retrieval-2.7", "marengo2.7"])
async def test_every_spelling_of_the_old_model_works(served: Served, name: str) -> None:
    """The three spellings of Marengo 2.7 name the same model, with 1024 dimensions."""
    call = served.stub.CreateEmbedding(request(text_input(), model=name), timeout=20)
    events = [event async for event in call]

    assert segments(events)[0].vector.dimensions == 1024
    assert results(events)[0].model_name == "Marengo-retrieval-2.7"


async def test_the_upstream_limits_the_length_of_text(serve: Serve) -> None:
    """On 2.7 with TRUNCATE_NONE, a text over 77 tokens fails with the upstream's own message."""
    long = pb.Input(text=pb.TextInput(value="word " * 80, truncate=pb.TRUNCATE_NONE))
    async with serve() as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(long, model="marengo2.7"), timeout=20):
                pass

    assert "token length should be less than or equal to 77" in failed(caught.value).message


def _is_parked(visit: Visit) -> bool:
    """Whether the writer is blocked: the socket's buffers are full."""
    return visit.writer.transport.get_write_buffer_size() > 0


async def test_cancelling_closes_a_connection_that_the_upstream_does_not_read(serve: Serve) -> None:
    """A cancelled call closes its connection also while the upstream reads nothing of the file."""
    is_open, is_closed = asyncio.Event(), asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        is_open.set()
        with contextlib.suppress(ConnectionError):
            await go_on.wait()
            while await reader.read(1 << 16):  # at most the bytes that were already sent
                pass
        is_closed.set()
        writer.close()

    go_on = asyncio.Event()
    async with tcp_server(connected) as port, serve(upstream=f"http://127.0.0.1:{port}") as served:
        asked = request(file_input("audio", bytes(15 << 20), "a.wav"))
        call = served.stub.CreateEmbedding(asked, timeout=30)
        reading = asyncio.ensure_future(call.read())
        await is_open.wait()
        before = _sockets_to(port)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: _sockets_to(port) < before)
        go_on.set()
        await asyncio.wait_for(is_closed.wait(), 10)


def _sockets_to(port: int) -> int:
    """The number of connections of this process to the port."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)
