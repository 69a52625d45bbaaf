"""Limits per token, and the scheduling between tokens."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import Failed, ending, failed, request, text_input
from tests.support.pki import bearer, sha256
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, reply

OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


def tokens(**limits: int) -> tuple[dict[str, Any], ...]:
    """Two callers whose tokens are their names; `a` has these limits."""
    return {"name": "a", "sha256": sha256("a"), **limits}, {"name": "b", "sha256": sha256("b")}


def texts(count: int = 1, value: str = "x") -> pb.CreateEmbeddingUnaryRequest:
    return pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input(value)] * count)


async def refused(served: Served, token: str, count: int) -> Failed:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.CreateEmbeddingUnary(texts(count), metadata=bearer(token), timeout=20)
    return failed(caught.value)


def detail(failure: Failed, found: Any) -> Any:
    """One of the details of a failure; empty if absent."""
    for packed in status_pb2.Status.FromString(failure.trailers["grpc-status-details-bin"]).details:
        packed.Unpack(found)
    assert isinstance(found, Message)
    return found


async def test_inputs_in_flight_of_one_caller(scripted: Scripted) -> None:
    """Calls over a caller's limit are rejected with the time to wait; ended calls and other callers do not count."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    async with scripted(script, tokens=tokens(inputs_in_flight=2)) as (served, upstream):
        running = served.stub.CreateEmbeddingUnary(texts(2), metadata=bearer("a"), timeout=30)
        await until(lambda: len(upstream.visits) == 2)
        failure = await refused(served, "a", 1)
        assert (failure.code, failure.info.reason) == (EXHAUSTED, "OVERLOADED")
        assert detail(failure, error_details_pb2.RetryInfo()).retry_delay.ToTimedelta().total_seconds() > 0
        assert served.metric("embedwire_requests_shed_total", resource="caller") == 1
        other = served.stub.CreateEmbeddingUnary(texts(3), metadata=bearer("b"), timeout=30)
        await until(lambda: len(upstream.visits) == 5)
        go_on.set()
        assert [await call.code() for call in (running, other)] == [OK, OK]
        more = served.stub.CreateEmbeddingUnary(texts(5), metadata=bearer("a"), timeout=30)
        assert await more.code() is OK  # inputs above the limit run one after the other


async def test_inputs_per_minute_of_one_caller(scripted: Scripted) -> None:
    """Inputs over the limit are rejected with the time to wait and the limit's name; other callers are not affected."""
    async with scripted(answer, tokens=tokens(inputs_per_minute=3)) as (served, upstream):
        too_many = await refused(served, "a", 4)
        assert await served.stub.CreateEmbeddingUnary(texts(2), metadata=bearer("a"), timeout=20).code() is OK
        later = await refused(served, "a", 2)
        assert await served.stub.CreateEmbeddingUnary(texts(1), metadata=bearer("a"), timeout=20).code() is OK
        assert await served.stub.CreateEmbeddingUnary(texts(9), metadata=bearer("b"), timeout=20).code() is OK
        assert served.metric("embedwire_client_inputs_total", client="a") == 3
        assert served.metric("embedwire_client_inputs_total", client="b") == 9

    assert len(upstream.visits) == 12
    for failure in (too_many, later):
        assert (failure.code, failure.info.reason) == (EXHAUSTED, "RATE_LIMITED")
        (violation,) = detail(failure, error_details_pb2.QuotaFailure()).violations
        assert violation.subject == "a inputs per minute"
    assert not detail(too_many, error_details_pb2.RetryInfo()).HasField("retry_delay")  # it never fits
    assert 0 < detail(later, error_details_pb2.RetryInfo()).retry_delay.ToTimedelta().total_seconds() < 70


async def test_the_queue_is_fair_between_tokens(scripted: Scripted) -> None:
    """A caller with many connections under one token gets no larger share than another with one connection."""
    one_at_a_time, order = asyncio.Semaphore(0), []

    async def script(visit: Visit) -> None:
        order.append("a" if b"from a" in visit.body else "b")
        await one_at_a_time.acquire()
        await visit.answer(reply())

    settings: dict[str, Any] = {
        "concurrency_inputs_per_modality": 1,
        "concurrency_inputs_per_call": 1,
        "tokens": tokens(),
    }
    async with scripted(script, **settings) as (served, _), contextlib.AsyncExitStack() as stack:

        async def begin(name: str) -> Any:
            channel = grpc.aio.insecure_channel(served.app.target, [("grpc.use_local_subchannel_pool", 1)])
            stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(await stack.enter_async_context(channel))
            asked = request(text_input(f"from {name}"))
            return stub.CreateEmbedding(asked, metadata=bearer(name), timeout=50)

        calls = [await begin("a") for _ in range(9)]
        await until(lambda: served.metric("embedwire_inputs_in_flight") == 9)
        channel = grpc.aio.insecure_channel(served.app.target, [("grpc.use_local_subchannel_pool", 1)])
        stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(await stack.enter_async_context(channel))
        calls += [
            stub.CreateEmbedding(request(text_input("from b")), metadata=bearer("b"), timeout=50) for _ in range(4)
        ]
        await until(lambda: served.metric("embedwire_inputs_in_flight") == 13)
        for _ in calls:
            one_at_a_time.release()
        assert await asyncio.gather(*map(ending, calls)) == [OK] * 13

    assert order[:9].count("b") == 4


async def test_upstream_keys_beside_tokens(scripted: Scripted) -> None:
    """The token is checked before the upstream key, so a wrong one never reaches the upstream; holds apply per key."""

    async def script(visit: Visit) -> None:
        if visit.headers["x-api-key"] == "exhausted":
            await visit.answer({"code": "too_many_requests", "message": "no"}, 429, Retry_After="3000")
        else:
            await visit.answer(reply())

    def own(key: str) -> list[tuple[str, str]]:
        return [("x-upstream-api-key", key)]

    settings: dict[str, Any] = {"api_key": "of-the-server", "auth_allow_caller_api_keys": True, "tokens": tokens()}
    async with scripted(script, **settings) as (served, upstream):

        async def code(metadata: Any) -> grpc.StatusCode:
            return await served.stub.CreateEmbeddingUnary(texts(), metadata=metadata, timeout=60).code()

        assert await code(own("mine")) is grpc.StatusCode.UNAUTHENTICATED
        assert await code(bearer("wrong") + own("mine")) is grpc.StatusCode.UNAUTHENTICATED
        assert not upstream.visits
        assert await code(bearer("a") + own("exhausted")) is EXHAUSTED
        assert await code(bearer("b") + own("exhausted")) is EXHAUSTED
        assert await code(bearer("a") + own("mine")) is OK
        assert await code(bearer("a")) is OK

    keys = [visit.headers["x-api-key"] for visit in upstream.visits]
    assert keys == ["exhausted", "mine", "of-the-server"]
    assert "authorization" not in {name for visit in upstream.visits for name in visit.headers}
