"""Complete answers: embed, embed_unary and models, and the options of every call."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedwire import (
    Audio,
    DeadlineExceededError,
    Embedding,
    GatewayError,
    Image,
    RequestError,
    Result,
    Segment,
    Text,
    UpstreamError,
)
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import Connect, taken
from tests.e2e.client.services import Context, Recorder, answering, result, segment, service
from tests.support import media
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

BROKEN = Image(data=b"no image", key="broken")


async def broken_off(visit: Visit) -> None:
    """Some segments, and then the connection breaks; any other input is answered."""
    if b"audio_url" not in visit.body:
        await visit.answer(reply())
        return
    body = json.dumps(reply("audio_embedding", segments=4)).encode()
    await visit.head(length=len(body))
    await visit.send(body[: len(body) * 3 // 4])
    visit.writer.close()


async def test_one_input_gives_one_embedding(connect: Connect, served: Served) -> None:
    """One input gives one Embedding with its vector, its matrix, and a result that names its source."""
    async with connect(served.app.target) as client:
        embedding = await client.embed("marengo3.0", Text("a red fox", key="k"), timeout=10)

    assert isinstance(embedding, Embedding)
    assert (embedding.failure, embedding.result.input_key, embedding.result.upstream) == (None, "k", "sandbox")
    assert isinstance(embedding.vector, np.ndarray)
    assert (embedding.vector.dtype, embedding.vector.shape) == (np.float32, (512,))
    assert embedding.matrix().shape == (1, 512)
    assert (embedding.matrix()[0] == embedding.vector).all()
    assert (embedding.result.attempts, embedding.result.segment_count, embedding.result.dimensions) == (1, 1, 512)
    assert 0 < embedding.result.timings.upstream < 10


@pytest.mark.parametrize("kind", [list, tuple])
async def test_a_sequence_gives_a_list_in_its_order(connect: Connect, served: Served, kind: type) -> None:
    """A sequence gives a list in the order of the request, also a sequence of one element."""
    asked = [Audio(data=media.wav(20), file_name="a.wav", key="0"), Text("b", key="1"), Text("c", key="2")]
    async with connect(served.app.target) as client:
        several = await client.embed("marengo3.0", kind(asked), timeout=20)
        one = await client.embed("marengo3.0", kind([Text("b")]), timeout=10)

    assert isinstance(several, list)
    assert [embedding.result.input_key for embedding in several] == ["0", "1", "2"]
    assert [embedding.result.input_index for embedding in several] == [0, 1, 2]
    assert len(several[0].segments) > 1
    assert isinstance(one, list)
    assert one[0].vector.tolist() == several[1].vector.tolist()


async def test_several_segments_have_a_matrix_and_no_vector(connect: Connect, served: Served) -> None:
    """`vector` raises for several segments; `matrix()` has them all, in order."""
    async with connect(served.app.target) as client:
        embedding = await client.embed("marengo3.0", Audio(data=media.wav(20), file_name="a.wav"), timeout=20)

    count = len(embedding.segments)
    assert count > 1
    assert embedding.matrix().shape == (count, 512)
    assert [row.tolist() for row in embedding.matrix()] == [part.vector.tolist() for part in embedding.segments]
    with pytest.raises(ValueError, match=f"there are {count} segments"):
        _ = embedding.vector


async def test_failures_among_several_inputs_are_in_their_embedding(connect: Connect, served: Served) -> None:
    """With several inputs a failure is in its Embedding, and reading its vectors raises it."""
    async with connect(served.app.target) as client:
        good, bad = await client.embed("marengo3.0", [Text("a"), BROKEN], timeout=10)

    assert good.failure is None
    good.result.raise_for_failure()
    assert bad.failure is not None
    assert (bad.failure.code, bad.failure.reason) == ("INVALID_ARGUMENT", "INPUT_REJECTED")
    assert bad.failure.upstream is not None
    assert (bad.failure.upstream.http_status, bad.failure.upstream.code) == (400, "parameter_invalid")
    assert (bad.segments, bad.result.dimensions, bad.result.input_key) == ((), 0, "broken")
    for ask in (lambda: bad.vector, bad.matrix, bad.result.raise_for_failure):
        with pytest.raises(RequestError) as caught:
            ask()
        assert caught.value.failure == bad.failure
        assert (caught.value.request_id, caught.value.attempts) == (bad.result.request_id, 1)


async def test_a_failed_input_voids_its_segments(connect: Connect, scripted: Scripted) -> None:
    """If the upstream breaks off, stream returns received segments, embed drops them, and both raise the failure."""
    asked = [Audio(url="http://media.test/a.mp3"), Text("b")]
    async with scripted(broken_off) as (served, _), connect(served.app.target) as client:
        events = await taken(await client.stream("marengo3.0", asked, max_retries=0, timeout=20))
        broken, good = await client.embed("marengo3.0", asked, max_retries=0, timeout=20)

    sent = [event for event in events if isinstance(event, Segment) and event.input_index == 0]
    (done,) = [event for event in events if isinstance(event, Result) and event.input_index == 0]
    assert len(sent) == done.segment_count >= 1
    for failure in (done.failure, broken.failure):
        assert failure is not None
        assert failure.reason in ("UPSTREAM_UNAVAILABLE", "UPSTREAM_MALFORMED_REPLY")
    assert broken.segments == ()
    assert good.vector.tolist() == [0.5] * 512


@pytest.mark.parametrize("wrap", [False, True], ids=["alone", "list"])
async def test_the_failure_of_the_only_input_is_raised(connect: Connect, scripted: Scripted, *, wrap: bool) -> None:
    """The only input's failure is raised, by stream after its segments, by embed and by embed_unary."""
    sound = Audio(url="http://media.test/a.mp3")
    asked: Any = [sound] if wrap else sound
    async with scripted(broken_off) as (served, _), connect(served.app.target) as client:
        events = await client.stream("marengo3.0", asked, max_retries=0, timeout=20)
        assert isinstance(await anext(events), Segment)
        for call in (
            taken(events),
            client.embed("marengo3.0", asked, max_retries=0, timeout=20),
            client.embed_unary("marengo3.0", asked, max_retries=0, timeout=20),
        ):
            with pytest.raises(UpstreamError) as caught:
                await call
            assert caught.value.attempts == 1


@pytest.mark.parametrize("sent", [(), (segment(0), result(0)), (segment(0), result(0), segment(1))])
async def test_an_input_without_a_result_is_a_server_failure(connect: Connect, sent: Any) -> None:
    """A call that ends with OK and lacks a result for an input is a GatewayError with the request id."""
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target) as client:
        with pytest.raises(GatewayError) as caught:
            await client.embed("m", [Text("a"), Text("b")], request_id="mine", timeout=10)

    assert (caught.value.code, caught.value.reason, caught.value.request_id) == ("INTERNAL", "INTERNAL", "mine")
    assert f"inputs[{1 if sent else 0}]" in caught.value.message


async def _without_embeddings(_: Any, __: Context) -> pb.CreateEmbeddingUnaryResponse:
    return pb.CreateEmbeddingUnaryResponse()


@pytest.mark.parametrize("asked", [Text("a"), [Text("a")]], ids=["alone", "list"])
async def test_a_unary_answer_that_lacks_an_input_is_a_server_failure(connect: Connect, asked: Any) -> None:
    """A unary answer that lacks an input is a GatewayError."""
    async with service(CreateEmbeddingUnary=_without_embeddings) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed_unary("m", asked, timeout=10)


@pytest.mark.parametrize("event", [segment(7), result(7)], ids=["segment", "result"])
async def test_an_event_for_an_unknown_input_is_a_server_failure(connect: Connect, event: Any) -> None:
    """An event for an input that was not sent is a GatewayError."""
    async with service(CreateEmbedding=answering(segment(), result(), event)) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed("m", Text("a"), timeout=10)


async def test_a_malformed_vector_is_a_server_failure(connect: Connect) -> None:
    """Packed values that are not a multiple of 4 bytes are a GatewayError."""
    torn = pb.Vector(encoding=pb.VECTOR_ENCODING_FLOAT32_LE, dimensions=2, data=b"1234567")
    async with service(CreateEmbedding=answering(segment(vector=torn), result())) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed("m", Text("a"), timeout=10)


async def test_unary_gives_the_same(connect: Connect, served: Served, tmp_path: Path) -> None:
    """embed_unary gives the same vectors, offsets, names and failures as embed, for inputs of every kind."""
    picture, sound = tmp_path / "picture.png", tmp_path / "sound.wav"
    picture.write_bytes(media.png())
    sound.write_bytes(media.wav(13))

    def asked() -> list[Any]:
        return [
            Text("a red fox", key="t", truncate="end"),
            Image(path=picture, key="p"),
            Audio(path=str(sound), start_offset_sec=1.0),
            Image(file=io.BytesIO(media.png(300, 300))),
            BROKEN,
        ]

    async with connect(served.app.target) as client:
        streamed = await client.embed("marengo3.0", asked(), timeout=20)
        unary = await client.embed_unary("marengo3.0", asked(), timeout=20)
        alone = await client.embed_unary("marengo3.0", Text("a red fox", key="t"), timeout=20)

    def facts(embedding: Embedding) -> list[Any]:
        parts = [
            (part.vector.tolist(), part.start_offset_sec, part.end_offset_sec, part.modality, part.input_key)
            for part in embedding.segments
        ]
        done = embedding.result
        failure = done.failure and (done.failure.code, done.failure.reason, done.failure.message)
        return [parts, done.input_filename, failure, done.model_name, done.media_duration_sec, done.segment_count]

    assert [facts(embedding) for embedding in unary] == [facts(embedding) for embedding in streamed]
    assert [embedding.result.input_filename for embedding in unary[1:3]] == ["picture.png", "sound.wav"]
    assert facts(alone) == facts(unary[0])


async def test_unary_refuses_large_files_before_sending(connect: Connect, tmp_path: Path) -> None:
    """Files over 15 MiB together, or of unknown size, are a ValueError that names the input; nothing is sent."""
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate((15 << 20) + 1)

    async def asynchronous() -> AsyncGenerator[bytes]:
        yield b"a"

    cases: list[tuple[int, list[Any]]] = [
        (0, [Audio(path=large)]),
        (1, [Audio(data=bytes(8 << 20)), Audio(data=bytes((7 << 20) + 1))]),
        (1, [Text("a"), Audio(chunks=[b"a"])]),
        (0, [Audio(chunks=asynchronous())]),
    ]
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for index, asked in cases:
            with pytest.raises(ValueError, match=rf"inputs\[{index}\]"):
                await client.embed_unary("m", asked, timeout=10)
    assert recorder.requests == []


async def test_unary_accepts_files_at_the_limit(connect: Connect, served: Served) -> None:
    """Files of 15 MiB fit into a unary message: the server reads and rejects them."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed_unary("marengo3.0", Audio(data=bytes(15 << 20)), timeout=30)
    assert caught.value.reason == "INPUT_REJECTED"


async def test_a_unary_answer_that_is_too_large(connect: Connect, scripted: Scripted) -> None:
    """An answer over 4 MiB is a RequestError with reason REPLY_TOO_LARGE."""
    body = json.dumps(reply("audio_embedding", segments=2100)).encode()

    async def script(visit: Visit) -> None:
        await visit.answer(body)

    async with scripted(script) as (served, _), connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed_unary("marengo3.0", Audio(url="http://media.test/a.mp3"), timeout=30)

    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "REPLY_TOO_LARGE")


async def test_models_of_a_real_server(connect: Connect, served: Served) -> None:
    """models() gives names, aliases, dimensions and limits of the real server."""
    async with connect(served.app.target) as client:
        new, old = await client.models(timeout=10)

    assert (new.name, new.dimensions) == ("marengo3.0", 512)
    assert (old.name, old.dimensions) == ("Marengo-retrieval-2.7", 1024)
    assert "marengo2.7" in old.aliases
    assert new.text is not None
    assert new.text.max_bytes == 64 << 10
    assert set(new.text.truncates) <= {"none", "start", "end"}
    assert old.text is not None
    assert old.text.max_tokens == 77
    assert new.image is not None
    assert "image/png" in new.image.media_types
    assert new.image.min_side_px > 0
    assert new.audio is not None
    assert new.audio.max_bytes == 256 << 20


async def test_every_page_of_models_is_requested(connect: Connect) -> None:
    """models() follows page tokens to the last page, also over an empty page, and returns absent modalities as None."""
    truncates: Any = pb.TextSupport(truncates=[3, 9])  # type: ignore[list-item] # an unknown modality
    pages = {
        "": pb.ListModelsResponse(next_page_token="two"),
        "two": pb.ListModelsResponse(models=[pb.Model(name="a", text=truncates)], next_page_token="three"),
        "three": pb.ListModelsResponse(models=[pb.Model(name="b"), pb.Model(name="c")]),
    }

    asked = []

    async def list_models(request: pb.ListModelsRequest, _: Context) -> pb.ListModelsResponse:
        asked.append(request.page_token)
        return pages[request.page_token] if len(asked) < 9 else pages["three"]  # ends an endless pagination

    async with service(ListModels=list_models) as target, connect(target) as client:
        found = await client.models(timeout=10)

    assert asked == ["", "two", "three"]
    assert [model.name for model in found] == ["a", "b", "c"]
    assert found[0].text is not None
    assert found[0].text.truncates == ("end", "9")
    assert (found[1].text, found[1].image, found[1].audio) == (None, None, None)


async def test_a_server_without_models_is_asked_once(connect: Connect) -> None:
    """A server without models and without a further page gives an empty list after one request."""
    asked = 0

    async def list_models(_: Any, __: Context) -> pb.ListModelsResponse:
        nonlocal asked
        asked += 1
        if asked > 5:  # ends an endless pagination
            return pb.ListModelsResponse(models=[pb.Model(name="stop")])
        return pb.ListModelsResponse()

    async with service(ListModels=list_models) as target, connect(target) as client:
        assert await client.models(timeout=10) == []
    assert asked == 1


@pytest.mark.parametrize(
    ("asked", "of_client", "of_call", "expected"),
    [
        (Text("a"), None, None, 60),
        ([Text("a"), Image(data=b"i")], None, None, 60),
        (Audio(data=b"a"), None, None, 600),
        ([Text("a"), Audio(url="http://media.test/a.mp3")], None, None, 600),
        (Audio(data=b"a"), 30.0, None, 30),
        (Text("a"), 30.0, 45.5, 45.5),
        (Text("a"), 30.0, None, 30),
        (Text("a"), None, 3600, 3600),
    ],
)
async def test_the_deadline_that_the_server_sees(
    connect: Connect, asked: Any, of_client: float | None, of_call: float | None, expected: float
) -> None:
    """A call has the deadline that it chose, else its client's, else 60 s or, with audio, 600 s."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target, timeout=of_client) as client:
        await client.embed("m", asked, timeout=of_call)
        await client.embed_unary("m", asked, timeout=of_call)
        await taken(await client.stream("m", asked, timeout=of_call))
        await client.models(timeout=of_call)

    assert len(recorder.remaining) == 4
    for remaining in recorder.remaining[:3]:
        assert remaining == pytest.approx(expected, rel=0.01, abs=5)
    assert recorder.remaining[3] == pytest.approx(expected if of_client or of_call else 60, rel=0.01, abs=5)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 1e12])
async def test_a_very_long_timeout(connect: Connect, served: Served, seconds: float) -> None:
    """A very long timeout is either accepted or a ValueError; it never times out at once."""
    async with connect(served.app.target) as client:
        try:
            embedding = await client.embed("marengo3.0", Text("a"), timeout=seconds)
        except ValueError:
            return
    assert embedding.vector.shape == (512,)


async def test_the_deadline_ends_a_call(connect: Connect, scripted: Scripted) -> None:
    """A call whose time is up raises DeadlineExceededError, which is a TimeoutError and a RequestError."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    async with scripted(script) as (served, _), connect(served.app.target) as client:
        calls = [
            make("marengo3.0", Text("a"), timeout=seconds, request_id="mine")
            for make in (client.embed, client.embed_unary)
            for seconds in (0.3, 0)
        ]
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    for error in found:
        assert isinstance(error, DeadlineExceededError)
        assert isinstance(error, TimeoutError)
        assert isinstance(error, RequestError)
        assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert error.request_id == "mine"


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
async def test_an_invalid_timeout_is_refused(connect: Connect, seconds: float) -> None:
    """A negative timeout, or one that is not a number, is a ValueError, for a client as for a call."""
    async with connect(NO_SERVER) as client:
        for make in (client.embed, client.embed_unary):
            with pytest.raises(ValueError, match="timeout"):
                await make("m", Text("a"), timeout=seconds)
        with pytest.raises(ValueError, match="timeout"):
            await client.stream("m", Text("a"), timeout=seconds)
        with pytest.raises(ValueError, match="timeout"):
            await client.models(timeout=seconds)
    with pytest.raises(ValueError, match="timeout"):
        async with connect(NO_SERVER, timeout=seconds):
            pass


async def test_the_request_id_is_sent_and_returned(connect: Connect, served: Served) -> None:
    """A given request id is in the metadata, in every result and in every error, for all kinds of call."""
    recorder = Recorder()
    mine = {"request_id": "my-id_1.2:3"}
    async with recorder.serving() as target, connect(target) as client:
        embedding = await client.embed("m", Text("a"), timeout=10, **mine)
        unary = await client.embed_unary("m", Text("a"), timeout=10, **mine)
        events = await client.stream("m", Text("a"), timeout=10, **mine)
        *_, done = await taken(events)
    async with connect(served.app.target) as client:
        for make in (client.embed, client.embed_unary):
            with pytest.raises(RequestError) as caught:
                await make("marengo3.0", BROKEN, timeout=10, **mine)
            assert caught.value.request_id == "my-id_1.2:3"
            assert "my-id_1.2:3" in str(caught.value)

    assert [call["x-request-id"] for call in recorder.metadata] == ["my-id_1.2:3"] * 3
    assert isinstance(done, Result)
    assert {events.request_id, done.request_id, embedding.result.request_id, unary.result.request_id} == {"my-id_1.2:3"}


async def test_every_call_has_a_request_id(connect: Connect) -> None:
    """Without a given request id each call gets a new one, which the server receives and the result contains."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        embeddings = [await client.embed("m", Text("a"), timeout=10) for _ in range(3)]
        await client.models(timeout=10)

    sent = [call["x-request-id"] for call in recorder.metadata]
    assert len(set(sent)) == 4
    assert [embedding.result.request_id for embedding in embeddings] == sent[:3]


@pytest.mark.parametrize("wrong", ["", "with space", "x" * 65, "ü", "a\nb", "a/b"])
async def test_an_id_that_the_server_would_replace_is_refused(connect: Connect, wrong: str) -> None:
    """A request id that the server would replace is a ValueError before anything is sent."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for make in (client.embed, client.embed_unary, client.stream):
            with pytest.raises(ValueError, match="request_id"):
                await make("m", Text("a"), request_id=wrong)
    assert recorder.requests == []


async def test_options_reach_the_server(connect: Connect) -> None:
    """Model, keys, truncation, offset, retries and the packed encoding are in the request as they were given."""
    recorder = Recorder()
    asked = [
        Text("a", key="k"),
        Text("b", truncate="none"),
        Text("c", truncate="start"),
        Text("d", truncate="end"),
        Audio(url="http://media.test/a.mp3", start_offset_sec=1.5),
        Audio(url="http://media.test/a.mp3", start_offset_sec=0.0, key="ü"),
        Audio(data=b"s", file_name="s.mp3"),
        Image(data=b"i", file_name="i.bin", media_type="image/png"),
    ]
    async with recorder.serving() as target, connect(target) as client:
        await client.embed("marengo", asked, max_retries=0, timeout=10)
        await client.embed_unary("marengo", asked, timeout=10)

    streamed, unary = recorder.requests
    for request in (streamed, unary):
        assert request.model_name == "marengo"
        assert request.vector_encoding == pb.VECTOR_ENCODING_FLOAT32_LE
        inputs = request.inputs
        assert [item.key for item in inputs] == ["k", "", "", "", "", "ü", "", ""]
        assert [item.text.truncate for item in inputs[:4]] == [
            pb.TRUNCATE_UNSPECIFIED,
            pb.TRUNCATE_NONE,
            pb.TRUNCATE_START,
            pb.TRUNCATE_END,
        ]
        assert [item.text.value for item in inputs[:4]] == ["a", "b", "c", "d"]
        assert (inputs[4].audio.source.url, inputs[4].audio.start_offset_sec) == ("http://media.test/a.mp3", 1.5)
        assert inputs[5].audio.HasField("start_offset_sec")
        assert not inputs[6].audio.HasField("start_offset_sec")
        assert inputs[6].audio.source.file == pb.FileSource(data=b"s", file_name="s.mp3", media_type="audio/mpeg")
        assert inputs[7].image.source.file == pb.FileSource(data=b"i", file_name="i.bin", media_type="image/png")
    assert streamed.HasField("max_retries")
    assert not unary.HasField("max_retries")


@pytest.mark.parametrize("wrong", ["a", 1, None, ["a"], [Text("a"), b"b"], {"text": "a"}, [[Text("a")]]])
async def test_invalid_inputs_are_refused(connect: Connect, wrong: Any) -> None:
    """Strings, bytes and other types among the inputs are a TypeError that names the index."""
    async with connect(NO_SERVER) as client:
        for make in (client.embed, client.embed_unary, client.stream):
            with pytest.raises(TypeError):
                await make("m", wrong)


async def test_an_iterable_is_answered_completely_or_refused(connect: Connect) -> None:
    """A generator of inputs is either refused or gives a list with every embedding, never only the first."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for make in (client.embed, client.embed_unary):
            try:
                found = await make("m", (Text(word) for word in ("a", "b")), timeout=10)
            except TypeError:
                continue
            assert len(found) == 2


async def test_an_empty_list_is_refused_by_the_server(connect: Connect, served: Served) -> None:
    """An empty list is a RequestError with the violation of the contract."""
    async with connect(served.app.target) as client:
        for make in (client.embed, client.embed_unary):
            with pytest.raises(RequestError) as caught:
                await make("marengo3.0", [], timeout=10)
            assert [violation.field for violation in caught.value.violations] == ["inputs"]


def test_invalid_inputs_are_refused_by_their_constructor() -> None:
    """No source, several sources, or one of a wrong type is a TypeError of the input's constructor."""
    wrong: list[dict[str, Any]] = [
        {},
        {"path": "a", "data": b"b"},
        {"url": b"http://media.test"},
        {"path": b"a"},
        {"path": 3},
        {"data": "text"},
        {"data": [1, 2]},
        {"file": b"bytes"},
        {"file": io.StringIO("text")},
        {"chunks": b"bytes"},
        {"chunks": "text"},
        {"chunks": 3},
    ]
    for arguments in wrong:
        for kind in (Image, Audio):
            with pytest.raises(TypeError):
                kind(**arguments)
    with pytest.raises(TypeError):
        Text(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="truncate"):
        Text("a", truncate="middle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"timeut": 5}, TypeError, "timeut"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
    ],
)
async def test_invalid_options_are_refused(
    connect: Connect, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An unknown or invalid option is an error that names it in every method; nothing is sent."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for method in (client.embed, client.embed_unary):
            with pytest.raises(error, match=named):
                await method("m", Text("a"), **options)
        with pytest.raises(error, match=named):
            await taken(await client.stream("m", Text("a"), **options))

    assert not recorder.requests
