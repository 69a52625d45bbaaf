"""Request coalescing over real sockets: one upstream request, an answer for each caller."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.e2e.policies.support import good, ok
from tests.support import media
from tests.support.messages import failed, file_input, request, results, segments, text_input, upload_input
from tests.support.pki import bearer, sha256
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit

CALLERS = 1000
# One host may use 8/9 of the queue.
ON: dict[str, Any] = {"cache_coalescing": True, "concurrency_queue_per_modality": 2 * CALLERS}
Message = pb.CreateEmbeddingFromUploadRequest


class Gate:
    """An upstream that answers when the test opens it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.gone = 0

    async def __call__(self, visit: Visit) -> None:
        opened, gone = asyncio.ensure_future(self.opened.wait()), asyncio.ensure_future(visit.gone())
        await asyncio.wait([opened, gone], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (opened, gone):
            waiting.cancel()
        if visit.closed.is_set():
            self.gone += 1
        else:
            await visit.answer(good(visit))


@contextlib.asynccontextmanager
async def stubs(served: Served, connections: int = 20) -> AsyncGenerator[Sequence[Any]]:
    """Stubs on connections of their own: each connection has a limited number of calls."""
    async with contextlib.AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(served.app.target, options) for _ in range(connections)]
        yield [
            embedding_pb2_grpc.EmbeddingServiceStub(await stack.enter_async_context(channel)) for channel in channels
        ]


def unary(stub: Any, *inputs: pb.Input, seconds: float = 60, **more: Any) -> asyncio.Task[Any]:
    """Begin a unary call in a task."""
    asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=inputs or (text_input(),))

    async def answer() -> Any:
        return await stub.CreateEmbeddingUnary(asked, timeout=seconds, **more)

    return asyncio.create_task(answer())


async def in_flight(served: Served, count: int, modality: str = "text") -> None:
    await until(lambda: served.metric("embedwire_inputs_in_flight", modality=modality) == count)


def vector(reply: Any) -> set[float]:
    return set(reply.embeddings[0].segments[0].vector.float_values.values)


async def test_identical_texts(scripted: Scripted) -> None:
    """1,000 identical texts at the same time cause one upstream request, and each caller gets the vector."""
    gate = Gate()
    async with scripted(gate, **ON) as (served, upstream), stubs(served) as callers:
        calls = [unary(callers[number % len(callers)], text_input(key=str(number))) for number in range(CALLERS)]
        await in_flight(served, CALLERS)
        gate.opened.set()
        replies = await asyncio.gather(*calls)
        await in_flight(served, 0)

        assert [vector(reply) for reply in replies] == [{0.5}] * CALLERS
        assert [reply.embeddings[0].result.input_key for reply in replies] == [str(number) for number in range(CALLERS)]
        assert sum(reply.embeddings[0].result.attempts for reply in replies) == 1
        assert len(upstream.visits) == served.metric("embedwire_upstream_requests_total") == 1


async def test_the_last_caller(scripted: Scripted) -> None:
    """When all callers but the last leave, also the first, the last one still gets the answer."""
    gate = Gate()
    async with scripted(gate, **ON) as (served, upstream), stubs(served) as callers:
        calls = [unary(callers[0])]
        await until(lambda: len(upstream.visits) == 1)
        calls += [unary(callers[number % len(callers)]) for number in range(1, CALLERS)]
        await in_flight(served, CALLERS)
        for call in calls[:-1]:
            call.cancel()
        await in_flight(served, 1)
        gate.opened.set()

        assert vector(await calls[-1]) == {0.5}
        assert (len(upstream.visits), gate.gone) == (1, 0)


async def test_all_callers_leave(scripted: Scripted) -> None:
    """The upstream request is cancelled: its connection is closed. The next call makes a new request."""
    gate = Gate()
    async with scripted(gate, **ON) as (served, upstream):
        calls = [unary(served.stub) for _ in range(20)]
        await in_flight(served, 20)
        await until(lambda: len(upstream.visits) == 1)
        for call in calls:
            call.cancel()
        await until(lambda: gate.gone == 1)
        await in_flight(served, 0)
        gate.opened.set()

        assert vector(await unary(served.stub)) == {0.5}
        assert served.metric("embedwire_upstream_requests_total", reason="CANCELLED") == 1
        assert served.metric("embedwire_inputs_total", reason="CANCELLED") == 20
        assert len(upstream.visits) == 2


async def test_tenants_and_credentials(scripted: Scripted) -> None:
    """The same text of two tenants, and with two credentials, is sent once for each."""
    gate = Gate()
    tokens = tuple({"name": name, "sha256": sha256(name)} for name in ("search", "indexer"))
    settings = {"tokens": tokens, "api_key": "of-the-server", "auth_allow_caller_api_keys": True}
    own = [("x-upstream-api-key", "of-a-caller")]
    async with scripted(gate, **ON, **settings) as (served, upstream):
        identities = [bearer("search"), bearer("indexer"), bearer("search") + own]
        calls = [unary(served.stub, metadata=identity) for identity in identities * 2]
        await in_flight(served, 6)
        gate.opened.set()
        replies = await asyncio.gather(*calls)

        assert [vector(reply) for reply in replies] == [{0.5}] * 6
        keys = sorted(visit.headers["x-api-key"] for visit in upstream.visits)
        assert keys == ["of-a-caller", "of-the-server", "of-the-server"]


async def test_off(scripted: Scripted) -> None:
    """By default, each input is one upstream request."""
    gate = Gate()
    async with scripted(gate) as (served, upstream):
        calls = [unary(served.stub) for _ in range(2)]
        await until(lambda: len(upstream.visits) == 2)
        gate.opened.set()
        await asyncio.gather(*calls)


async def test_images(scripted: Scripted, tmp_path: Path) -> None:
    """Files in messages and uploads share a request by their bytes, also when the first upload's caller leaves."""
    gate, data = Gate(), media.png(1200, 1200) + bytes(2 << 20)

    async def upload(name: str) -> pb.InputResult:
        async def messages() -> AsyncGenerator[Message]:
            yield Message(request=request(upload_input("image", file_name=name)))
            for at in range(0, len(data), 1 << 20):
                is_last = at + (1 << 20) >= len(data)
                yield Message(chunk=pb.UploadChunk(input_index=0, data=data[at : at + (1 << 20)], last=is_last))

        events = [event async for event in served.stub.CreateEmbeddingFromUpload(messages(), timeout=60)]
        assert set(segments(events)[0].vector.float_values.values) == {0.5}
        return results(events)[0]

    async with scripted(gate, **ON, uploads_spool_dir=tmp_path) as (served, upstream):
        first = asyncio.create_task(upload("first.png"))
        await until(lambda: len(upstream.visits) == 1)
        second = asyncio.create_task(upload("second.png"))
        inline = unary(served.stub, file_input("image", data, "third.png"))
        other = unary(served.stub, file_input("image", data + b"x", "other.png"))
        await until(lambda: len(upstream.visits) == 2)
        await in_flight(served, 4, "image")
        first.cancel()
        await in_flight(served, 3, "image")
        gate.opened.set()

        assert (await second).attempts == (await inline).embeddings[0].result.attempts == 0
        assert (await other).embeddings[0].result.attempts == 1
    assert len(upstream.visits) == 2
    assert all(data in visit.body for visit in upstream.visits)


async def test_a_short_deadline(scripted: Scripted) -> None:
    """A caller whose deadline passes gets DEADLINE_EXCEEDED; the others get the answer of the same request."""
    gate = Gate()
    async with scripted(gate, **ON) as (served, upstream):
        short = unary(served.stub, seconds=3)
        await until(lambda: len(upstream.visits) == 1)
        long = unary(served.stub)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await short
        gate.opened.set()

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert vector(await long) == {0.5}
        assert len(upstream.visits) == 1


async def test_a_failure(scripted: Scripted) -> None:
    """A failure of the upstream reaches each caller, with the same status, message and details."""
    opened = asyncio.Event()

    async def script(visit: Visit) -> None:
        await opened.wait()
        await visit.answer({"code": "parameter_invalid", "message": "the text is not accepted"}, 400)

    async with scripted(script, **ON) as (served, upstream):
        calls = [unary(served.stub) for _ in range(20)]
        await in_flight(served, 20)
        opened.set()
        errors = [failed(error) for error in await asyncio.gather(*calls, return_exceptions=True)]  # type: ignore[arg-type]
        for error in errors:
            error.failure.attempts = 0  # 1 for the caller that has started the request

        assert len({(error.code, error.message, error.info.reason) for error in errors}) == 1
        assert all(error.failure == errors[0].failure for error in errors)
        assert "the text is not accepted" in errors[0].message
        assert len(upstream.visits) == 1


async def test_inputs_of_one_stream(scripted: Scripted) -> None:
    """Identical inputs of one call share a request; each has its own segment and result."""
    texts = ["a", "b", "a", "c", "a", "b"]
    gate = Gate()
    async with scripted(gate, **ON) as (served, upstream):
        asked = request(*[text_input(value, key=str(index)) for index, value in enumerate(texts)])

        async def read() -> list[Any]:
            return [event async for event in served.stub.CreateEmbedding(asked, timeout=60)]

        call = asyncio.create_task(read())
        await in_flight(served, len(texts))
        gate.opened.set()
        events = await call
        done = results(events)

        assert sorted(segment.input_index for segment in segments(events)) == list(range(len(texts)))
        assert [done[index].segment_count for index in range(len(texts))] == [1] * len(texts)
        assert [done[index].attempts for index in range(len(texts))] == [1, 1, 0, 1, 0, 0]
        assert len(upstream.visits) == 3


async def test_after_an_answer(scripted: Scripted) -> None:
    """Requests are shared only while they are in flight: the same text is sent again later."""
    async with scripted(ok, **ON) as (served, upstream):
        for _ in range(3):
            assert vector(await unary(served.stub)) == {0.5}
        assert len(upstream.visits) == 3


async def test_with_a_cache(scripted: Scripted) -> None:
    """A cache turns coalescing on. The result is stored also if the caller that has started the request leaves."""
    gate = Gate()
    async with scripted(gate, cache_store="memory") as (served, upstream):
        first = unary(served.stub)
        await until(lambda: len(upstream.visits) == 1)
        calls = [unary(served.stub) for _ in range(2)]
        await in_flight(served, 3)
        first.cancel()
        await in_flight(served, 2)
        gate.opened.set()
        await asyncio.gather(*calls)

        assert vector(await unary(served.stub)) == {0.5}
        assert len(upstream.visits) == 1


async def test_shutdown(scripted: Scripted) -> None:
    """A shared request ends with its callers when the server stops: its connection is closed."""
    gate = Gate()
    async with contextlib.AsyncExitStack() as stack:
        served, upstream = await stack.enter_async_context(scripted(gate, **ON, shutdown_grace_period=0.1))
        calls = [unary(served.stub) for _ in range(10)]
        await in_flight(served, 10)
        await until(lambda: len(upstream.visits) == 1)
        await served.app.__aexit__(None, None, None)
        await until(lambda: gate.gone == 1)
        found = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(error, grpc.aio.AioRpcError) for error in found)
    assert len(upstream.visits) == 1
