"""Options of every call: deadlines, request ids, and what reaches the server."""

import asyncio
from typing import Any

import pytest

from embedwire import Audio, DeadlineExceededError, Image, RequestError, Result, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import BROKEN, PICTURE, SOUND, Connect, taken
from tests.e2e.client.services import Recorder
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit


@pytest.mark.parametrize(
    ("asked", "of_client", "of_call", "expected"),
    [
        (Text("a"), None, None, 60),
        ([Text("a"), Image(data=b"i")], None, None, 60),
        (Audio(data=b"a", processing_mode="sync"), None, None, 600),
        ([Text("a"), Audio(url="http://media.test/a.mp3", processing_mode="sync")], None, None, 600),
        (Audio(data=b"a"), None, None, 3600),
        (Audio(data=b"a", processing_mode="task"), None, None, 3600),
        (Audio(task_id="t"), None, None, 3600),
        ([Audio(data=b"a", processing_mode="sync"), Audio(data=b"b")], None, None, 3600),
        (Audio(data=b"a"), 30.0, None, 30),
        (Text("a"), 30.0, 45.5, 45.5),
        (Text("a"), 30.0, None, 30),
        (Text("a"), None, 3600, 3600),
    ],
)
async def test_the_deadline_that_the_server_sees(
    connect: Connect, asked: Any, of_client: float | None, of_call: float | None, expected: float
) -> None:
    """A call has the deadline that it chose, else its client's, else 60 s, 600 s or 3,600 s by its audio."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target, timeout=of_client) as client:
        await client.embed("m", asked, timeout=of_call)
        await taken(await client.stream("m", asked, timeout=of_call))
        await client.models(timeout=of_call)

    assert len(recorder.remaining) == 3
    for remaining in recorder.remaining[:2]:
        assert remaining == pytest.approx(expected, rel=0.01, abs=5)
    assert recorder.remaining[2] == pytest.approx(expected if of_client or of_call else 60, rel=0.01, abs=5)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 1e12])
async def test_a_very_long_timeout(connect: Connect, served: Served, seconds: float) -> None:
    """A very long timeout is either accepted or a ValueError; it never times out immediately."""
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
            client.embed("marengo3.0", asked, timeout=seconds, request_id="mine")
            for asked in (Text("a"), SOUND)
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
        for asked in (Text("a"), SOUND):
            with pytest.raises(ValueError, match="timeout"):
                await client.embed("m", asked, timeout=seconds)
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
        embedding = await client.embed("m", PICTURE, timeout=10, **mine)
        unary = await client.embed("m", Text("a"), timeout=10, **mine)
        events = await client.stream("m", Text("a"), timeout=10, **mine)
        *_, done = await taken(events)
    async with connect(served.app.target) as client:
        for asked in (BROKEN, Text("")):
            with pytest.raises(RequestError) as caught:
                await client.embed("marengo3.0", asked, timeout=10, **mine)
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
        for make in (client.embed, client.stream):
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
        await client.embed("marengo", asked[1], timeout=10)

    streamed, unary = recorder.requests
    for request in (streamed, unary):
        assert request.model_name == "marengo"
        assert request.vector_encoding == pb.VECTOR_ENCODING_FLOAT32_LE
    inputs = streamed.inputs
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
    assert unary.inputs == inputs[1:2]
    assert streamed.HasField("max_retries")
    assert not unary.HasField("max_retries")


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"timeut": 5}, TypeError, "timeut"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": 2**31}, ValueError, "max_retries"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"dimensions": 0}, ValueError, "dimensions"),
        ({"dimensions": 2**31}, ValueError, "dimensions"),
        ({"dimensions": 1.5}, TypeError, "dimensions"),
        ({"include_uncertainty": 1}, TypeError, "include_uncertainty"),
        ({"request_id": 1}, TypeError, "request_id"),
    ],
)
async def test_invalid_options_are_refused(
    connect: Connect, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An unknown or invalid option is an error that names it in every method; nothing is sent."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for asked in (Text("a"), PICTURE):
            with pytest.raises(error, match=named):
                await client.embed("m", asked, **options)
        with pytest.raises(error, match=named):
            await taken(await client.stream("m", Text("a"), **options))

    assert not recorder.requests
