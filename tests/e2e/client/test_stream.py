"""The events of a call as they arrive: order, unknown events, and the ways to end it early."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from embedwire import AsyncClient, Audio, Client, EmbedwireError, Image, RequestError, Result, Segment, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import Connect, InTheLoop, InThreads, connecting, taken
from tests.e2e.client.services import Context, answering, result, segment, service, vector
from tests.support import media
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, reply

SOUND = Audio(url="http://media.test/a.mp3")


async def half_sent(visit: Visit) -> None:
    """One of three segments, then nothing until the peer disconnects."""
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    await visit.head(length=len(body))
    await visit.send(body[: len(body) // 2])
    await visit.gone()


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


async def test_unknown_events_are_ignored(connect: Connect) -> None:
    """An empty response, an unknown event and an unknown field do not disturb the other events."""
    unknown_event = pb.CreateEmbeddingResponse.FromString(b"\xd2\x07\x02hi")  # field 122, a string
    unknown_field = pb.CreateEmbeddingResponse.FromString(segment().SerializeToString() + b"\xd2\x07\x02hi")
    sent = [pb.CreateEmbeddingResponse(), unknown_event, unknown_field, unknown_event, result(), unknown_event]
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target) as client:
        events = await taken(await client.stream("m", Text("a"), timeout=10))
        embedding = await client.embed("m", Text("a"), timeout=10)

    assert [type(event) for event in events] == [Segment, Result]
    assert embedding.vector.tolist() == [1.0, 2.0]


async def test_an_unknown_modality(connect: Connect) -> None:
    """A segment with an unknown modality is returned with the modality "unknown" and its vector."""
    strange = pb.CreateEmbeddingResponse(segment=pb.Segment(vector=vector([3.0])))
    async with service(CreateEmbedding=answering(strange, result())) as target, connect(target) as client:
        first = await anext(await client.stream("m", Text("a"), timeout=10))

    assert isinstance(first, Segment)
    assert (first.modality, first.start_offset_sec, first.vector.tolist()) == ("unknown", None, [3.0])


LEAVE = ["block", "close", "drop", "client"]


@pytest.mark.parametrize("how", LEAVE)
async def test_ending_a_stream_early_cancels_the_call(connect: Connect, scripted: Scripted, how: str) -> None:
    """Leaving the block, close(), dropping the stream and closing the client cancel the call at the server."""
    async with scripted(half_sent) as (served, upstream), connect(served.app.target) as client:
        events: Any = await client.stream("marengo3.0", SOUND, timeout=30)
        if how == "block":
            async with events:
                await anext(events)
        else:
            await anext(events)
        if how == "close":
            await events.close()
            assert await taken(events) == []
        elif how == "drop":
            del events
            gc.collect()
        elif how == "client":
            await client.close()
        await asyncio.wait_for(upstream.visits[0].gone(), 10)
        await until(lambda: served.metric("embedwire_requests_total", reason="CANCELLED") == 1)
        assert served.metric("embedwire_inputs_in_flight") == 0


async def test_closing_a_stream_more_than_once(connect: Connect, served: Served) -> None:
    """close() before the first event, repeatedly, and after the last event has no effect but to end the stream."""
    async with connect(served.app.target) as client:
        unread = await client.stream("marengo3.0", Text("a"), timeout=10)
        await unread.close()
        await unread.close()
        assert await taken(unread) == []
        read = await client.stream("marengo3.0", Text("a"), timeout=10)
        assert len(await taken(read)) == 2
        await read.close()
        assert await taken(read) == []


async def test_an_exhausted_iterator_stays_exhausted(connect: Connect, served: Served) -> None:
    """After its last event a stream raises StopIteration for every further request."""
    async with connect(served.app.target) as client:
        events = await client.stream("marengo3.0", Text("a"), timeout=10)
        assert len(await taken(events)) == 2
        assert await taken(events) == []
        assert await taken(events) == []


async def test_a_failed_stream_raises_again(connect: Connect, served: Served) -> None:
    """A failed stream raises the same failure again, instead of an end that looks like success."""
    async with connect(served.app.target) as client:
        events = await client.stream("marengo3.0", Image(data=b"no image"), timeout=10)
        for _ in range(2):
            with pytest.raises(RequestError) as caught:
                await anext(events)
            assert caught.value.reason == "INPUT_REJECTED"


@pytest.mark.parametrize("kind", [InThreads, InTheLoop])
async def test_closing_the_client_fails_a_pending_read(
    kind: type[InThreads] | type[InTheLoop], scripted: Scripted
) -> None:
    """A read that is pending when the client is closed is an EmbedwireError, not a CancelledError."""
    async with scripted(half_sent) as (served, _), connecting(kind)(served.app.target) as client:
        events = await client.stream("marengo3.0", SOUND, timeout=30)
        await anext(events)
        rest = asyncio.create_task(taken(events))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(EmbedwireError) as caught:
            await asyncio.wait_for(rest, 10)

    assert caught.value.code == "CANCELLED"


async def test_the_status_cancelled_of_a_server_is_an_error(connect: Connect) -> None:
    """The status CANCELLED from a server is an EmbedwireError in both classes."""

    async def create(_: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()
        await context.abort(grpc.StatusCode.CANCELLED, "going away")

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with pytest.raises(EmbedwireError) as caught:
            await asyncio.wait_for(client.embed("m", Text("a"), timeout=10), 10)

    assert (caught.value.code, caught.value.reason) == ("CANCELLED", "CANCELLED")


async def test_a_stream_after_a_timeout_around_one_event(scripted: Scripted) -> None:
    """After `asyncio.timeout` expired around one event, the next read is an EmbedwireError, not a CancelledError."""
    async with scripted(half_sent) as (served, _), AsyncClient(served.app.target) as client:
        events = client.stream("marengo3.0", SOUND, timeout=30)
        first = await anext(events)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.2)
        asking = asyncio.create_task(anext(events))
        await asyncio.wait([asking], timeout=10)
        assert isinstance(first, Segment)
        assert asking.done()
        assert not asking.cancelled()
        assert isinstance(asking.exception(), EmbedwireError)


async def test_cancelling_the_task_ends_the_call(scripted: Scripted) -> None:
    """Cancelling a task that iterates or embeds cancels its call at the server and leaves no task running."""
    async with scripted(half_sent) as (served, upstream), AsyncClient(served.app.target) as client:

        async def iterate() -> None:
            async with client.stream("marengo3.0", SOUND, timeout=30) as events:
                async for _ in events:
                    pass

        loop = asyncio.get_running_loop()
        assert await client.models(timeout=10)  # opens the connection
        before = asyncio.all_tasks()
        for count, work in enumerate([iterate(), client.embed("marengo3.0", SOUND, timeout=30)]):
            task: asyncio.Task[Any] = asyncio.ensure_future(work)
            await until(lambda count=count: len(upstream.visits) == count + 1)  # type: ignore[misc]
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()
            await asyncio.wait_for(upstream.visits[count].gone(), 10)
        await until(lambda: served.metric("embedwire_requests_total", reason="CANCELLED") == 2)
        await until(lambda: all(is_servers(task) for task in asyncio.all_tasks(loop) - before))


def is_servers(task: asyncio.Task[Any]) -> bool:
    """Whether the task waits for calls on behalf of the server in this process."""
    return "AioServer" in repr(task) or "AcceptLoops" in repr(task)


def test_a_client_made_outside_of_an_event_loop(served_by_thread: str) -> None:
    """An AsyncClient made without a running loop binds to the loop of its first call, and after close() to another."""
    client = AsyncClient(served_by_thread)

    async def use() -> Any:
        embedding = await client.embed("m", Text("a"), timeout=10)
        await client.close()
        return embedding.vector.tolist()

    assert asyncio.run(use()) == asyncio.run(use()) == [1.0, 2.0]


def test_a_client_in_several_event_loops(served_by_thread: str) -> None:
    """An AsyncClient that is not closed connects again in each further event loop."""
    client = AsyncClient(served_by_thread)

    async def use() -> Any:
        return (await client.embed("m", Text("a"), timeout=10)).vector.tolist()

    assert [asyncio.run(use()) for _ in range(3)] == [[1.0, 2.0]] * 3
    asyncio.run(client.close())


def test_dropping_a_stream_after_its_event_loop_ended(served_by_thread: str) -> None:
    """Dropping an unread or half-read stream after its event loop has ended raises nothing, not even in __del__."""
    kept: list[Any] = []

    async def use() -> None:
        client = AsyncClient(served_by_thread)
        for count in (0, 1, 2):
            stream = client.stream("m", Text("a"), timeout=10)
            for _ in range(count):
                await anext(stream)
            kept.append(stream)

    asyncio.run(use())
    kept.clear()
    gc.collect()


async def test_many_calls_at_once(connect: Connect, served: Served) -> None:
    """One client serves many threads or tasks concurrently, and each gets its own answer."""
    async with connect(served.app.target) as client:
        alone = [await client.embed("marengo3.0", Text(f"text {number}"), timeout=20) for number in range(4)]
        together = await asyncio.gather(
            *(client.embed("marengo3.0", Text(f"text {number % 4}"), timeout=30) for number in range(60))
        )

    for number, embedding in enumerate(together):
        assert embedding.vector.tolist() == alone[number % 4].vector.tolist()
    assert len({embedding.result.request_id for embedding in together}) == 60


async def test_many_streams_at_once(connect: Connect, served: Served) -> None:
    """Concurrent streams of one client do not mix their events."""
    async with connect(served.app.target) as client:

        async def one(number: int) -> None:
            stream = await client.stream(
                "marengo3.0", [Text("a", key=f"{number}"), Text("b", key=f"{number}")], timeout=30
            )
            events = await taken(stream)
            assert {event.input_key for event in events} == {f"{number}"}
            assert len(events) == 4

        await asyncio.gather(*(one(number) for number in range(30)))


async def test_a_closed_client_rejects_calls(served: Served) -> None:
    """A `Client` that was closed refuses further calls at once."""
    client = Client(served.app.target)
    await asyncio.to_thread(client.embed, "marengo3.0", Text("a"), timeout=10)
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.embed("marengo3.0", Text("a"), timeout=10)


async def test_one_reader_at_a_time(scripted: Scripted) -> None:
    """A concurrent second read of an AsyncStream raises an error, and makes no second call."""
    async with scripted(half_sent) as (served, upstream), AsyncClient(served.app.target) as client:
        events = client.stream("marengo3.0", SOUND, timeout=30)
        found = await asyncio.gather(anext(events), anext(events), return_exceptions=True)
        events.close()

    assert [type(each) for each in found] == [Segment, RuntimeError]
    assert len(upstream.visits) == 1


async def test_closing_a_stream_from_another_task_ends_it(scripted: Scripted) -> None:
    """After `close()` no event follows, also for a thread that is blocked in a read at that moment."""
    async with scripted(half_sent) as (served, _):
        with Client(served.app.target) as client:
            events = client.stream("marengo3.0", SOUND, timeout=30)
            await asyncio.to_thread(next, events)
            rest = asyncio.create_task(asyncio.to_thread(list, events))
            await until(lambda: True)
            events.close()
            assert all(isinstance(each, Segment) for each in await asyncio.wait_for(rest, 10))
