"""Complete answers of embed: its vectors, its order, and its failures."""

import json
from typing import Any

import numpy as np
import pytest

from embedwire import Audio, Embedding, GatewayError, RequestError, Result, Segment, Text, UpstreamError
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import BROKEN, PICTURE, Connect, taken
from tests.e2e.client.services import answering, result, segment, service
from tests.support import media
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


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
    with pytest.raises(ValueError, match=f"the input has {count} segments"):
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
    """The only input's failure is raised, by stream after its segments, and by embed."""
    sound = Audio(url="http://media.test/a.mp3")
    asked: Any = [sound] if wrap else sound
    async with scripted(broken_off) as (served, _), connect(served.app.target) as client:
        events = await client.stream("marengo3.0", asked, max_retries=0, timeout=20)
        assert isinstance(await anext(events), Segment)
        for call in (
            taken(events),
            client.embed("marengo3.0", asked, max_retries=0, timeout=20),
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


@pytest.mark.parametrize("event", [segment(7), result(7)], ids=["segment", "result"])
async def test_an_event_for_an_unknown_input_is_a_server_failure(connect: Connect, event: Any) -> None:
    """An event for an input that was not sent is a GatewayError."""
    async with service(CreateEmbedding=answering(segment(), result(), event)) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed("m", PICTURE, timeout=10)


async def test_a_malformed_vector_is_a_server_failure(connect: Connect) -> None:
    """Packed values that are not a multiple of 4 bytes are a GatewayError."""
    torn = pb.Vector(dimensions=2, float32_le=b"1234567")
    async with service(CreateEmbedding=answering(segment(vector=torn), result())) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed("m", PICTURE, timeout=10)
