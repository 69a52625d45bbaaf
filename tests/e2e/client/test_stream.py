"""Events of a stream: their order, their content, and events that the client does not know."""

import asyncio
import json

import pytest

from embedwire import Audio, GatewayError, Image, Result, Segment, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import PICTURE, SOUND, Connect, taken
from tests.e2e.client.services import answering, result, segment, service, vector
from tests.support import media
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


async def test_the_first_segment_comes_before_the_last_byte(connect: Connect, scripted: Scripted) -> None:
    """A caller receives the first segment while the upstream holds back the rest, and then the rest in order."""
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    rest_is_wanted = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.head(length=len(body))
        await visit.send(body[: len(body) // 2])
        await rest_is_wanted.wait()
        await visit.send(body[len(body) // 2 :])

    async with scripted(script) as (served, _), connect(served.app.target) as client:
        events = await client.stream("marengo3.0", SOUND, timeout=20)
        first = await anext(events)
        assert not rest_is_wanted.is_set()
        rest_is_wanted.set()
        rest = await taken(events)

    assert isinstance(first, Segment)
    assert (first.modality, first.start_offset_sec, first.end_offset_sec, first.embedding_option) == (
        "audio",
        0.0,
        6.0,
        "audio",
    )
    assert [event.segment_index for event in rest if isinstance(event, Segment)] == [1, 2]
    done = rest[-1]
    assert isinstance(done, Result)
    assert (done.segment_count, done.dimensions, done.attempts, done.failure) == (3, 512, 1, None)
    assert (done.model_name, done.upstream, done.request_id) == ("marengo3.0", "custom", events.request_id)


async def test_inputs_interleave_and_each_keeps_its_order(connect: Connect, scripted: Scripted) -> None:
    """A fast input is answered while a slow one still sends; segments of each arrive in order before its result."""
    body = json.dumps(reply("audio_embedding", segments=4)).encode()
    rest_is_wanted = asyncio.Event()

    async def script(visit: Visit) -> None:
        if b"audio_url" not in visit.body:
            await visit.answer(reply())
            return
        await visit.head(length=len(body))
        await visit.send(body[: len(body) // 2])
        await rest_is_wanted.wait()
        await visit.send(body[len(body) // 2 :])

    events = []
    async with scripted(script) as (served, _), connect(served.app.target) as client:
        asked = [Audio(url="http://media.test/a.mp3", key="slow"), Text("quick", key="quick")]
        async with await client.stream("marengo3.0", asked, timeout=20) as stream:
            async for event in stream:
                events.append(event)
                seen = {(type(event), event.input_index) for event in events}
                if {(Result, 1), (Segment, 0)} <= seen:
                    rest_is_wanted.set()

    for index, key, count in [(0, "slow", 4), (1, "quick", 1)]:
        mine = [event for event in events if event.input_index == index]
        assert [event.segment_index for event in mine[:-1] if isinstance(event, Segment)] == list(range(count))
        assert isinstance(mine[-1], Result)
        assert {event.input_key for event in mine} == {key}
    assert isinstance(events[-1], Result)
    assert events[-1].input_index == 0


async def test_segments_have_their_modality(connect: Connect, served: Served) -> None:
    """Text, image and audio segments name their modality; only audio segments have offsets."""
    asked = [
        Text("a red fox"),
        Image(data=media.png(), file_name="b.png"),
        Audio(data=media.wav(13), file_name="c.wav"),
    ]
    async with connect(served.app.target) as client:
        events = await taken(await client.stream("marengo3.0", asked, timeout=20))

    found = {event.input_index: event for event in events if isinstance(event, Segment) and event.segment_index == 0}
    assert [found[index].modality for index in range(3)] == ["text", "image", "audio"]
    assert [found[index].start_offset_sec for index in range(3)] == [None, None, 0.0]
    assert found[0].end_offset_sec is None
    assert found[2].end_offset_sec is not None
    done = {event.input_index: event for event in events if isinstance(event, Result)}
    assert [done[index].input_filename for index in range(3)] == [None, "b.png", "c.wav"]


UNKNOWN = b"\xd2\x07\x02hi"  # field 122, a string


async def test_unknown_events_are_ignored(connect: Connect) -> None:
    """An empty response, an unknown event and an unknown field do not disturb the other events."""
    unknown_event = pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent.FromString(UNKNOWN)])
    unknown_field = pb.CreateEmbeddingResponse.FromString(segment().SerializeToString() + UNKNOWN)
    sent = [pb.CreateEmbeddingResponse(), unknown_event, unknown_field, unknown_event, result(), unknown_event]
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target) as client:
        events = await taken(await client.stream("m", Text("a"), timeout=10))
        embedding = await client.embed("m", PICTURE, timeout=10)

    assert [type(event) for event in events] == [Segment, Result]
    assert embedding.vector.tolist() == [1.0, 2.0]


async def test_several_events_in_one_message(connect: Connect) -> None:
    """The events of one message are yielded one by one, also those before one that cannot be read."""
    unread = pb.EmbeddingEvent(segment=pb.Segment(segment_index=2))  # without a vector
    events = [segment(0, 0).events[0], pb.EmbeddingEvent.FromString(UNKNOWN), segment(0, 1).events[0], unread]
    sent = pb.CreateEmbeddingResponse(events=events)
    async with service(CreateEmbedding=answering(sent)) as target, connect(target) as client:
        stream = await client.stream("m", Text("a"), timeout=10)
        found = [await anext(stream), await anext(stream)]
        with pytest.raises(GatewayError):
            await anext(stream)

    assert [event.segment_index for event in found if isinstance(event, Segment)] == [0, 1]


async def test_an_unknown_modality(connect: Connect) -> None:
    """A segment with an unknown modality is returned with the modality "unknown" and its vector."""
    strange = pb.EmbeddingEvent(segment=pb.Segment(vector=vector([3.0])))
    sent = pb.CreateEmbeddingResponse(events=[strange])
    async with service(CreateEmbedding=answering(sent, result())) as target, connect(target) as client:
        first = await anext(await client.stream("m", Text("a"), timeout=10))

    assert isinstance(first, Segment)
    assert (first.modality, first.start_offset_sec, first.vector.tolist()) == ("unknown", None, [3.0])
