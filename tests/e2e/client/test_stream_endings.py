"""Ends of a stream: closed, dropped, cancelled, failed or read to its end."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from embedwire import AsyncClient, Client, EmbedwireError, Image, RefusedError, RequestError, Segment, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import PICTURE, SOUND, Connect, InTheLoop, InThreads, connecting, taken
from tests.e2e.client.services import Context, end_with, rejection, segment, service
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, reply


async def half_sent(visit: Visit) -> None:
    """One of three segments, then nothing until the peer disconnects."""
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    await visit.head(length=len(body))
    await visit.send(body[: len(body) // 2])
    await visit.gone()


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
            await asyncio.wait_for(client.embed("m", PICTURE, timeout=10), 10)

    assert (caught.value.code, caught.value.reason) == ("CANCELLED", "CANCELLED")


async def test_a_changed_status_code(connect: Connect) -> None:
    """The code of a call is that of the failure in its details, also if a proxy changed the status to CANCELLED."""

    async def create(_: Any, context: Any) -> AsyncGenerator[Any]:
        await end_with(context, rejection("OVERLOADED"), grpc.StatusCode.CANCELLED)
        yield

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with pytest.raises(RefusedError) as caught:
            await client.embed("m", PICTURE, timeout=10)
    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")


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
