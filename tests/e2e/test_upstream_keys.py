"""Callers' own keys for the upstream."""

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, text_input
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

KEY = "tlk_of_the_caller"


def unary() -> pb.CreateEmbeddingUnaryRequest:
    return pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])


async def refuse(visit: Visit) -> None:
    await visit.answer({"code": "api_key_invalid", "message": f"The key {KEY} is invalid."}, 401)


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def test_a_server_that_takes_no_keys_says_so(served: Served) -> None:
    """A key is not ignored in silence: by default the call fails and says what to do."""
    call = served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", KEY)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call

    failure = failed(caught.value)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert list(failure.fields) == ["x-upstream-api-key"]
    assert KEY not in str(caught.value)


async def test_the_callers_key_replaces_the_servers(scripted: Scripted) -> None:
    """The upstream sees the caller's key where there is one, and the server's own everywhere else."""
    settings = {"api_key": "of-the-server", "accept_upstream_keys": True}
    async with scripted(answer, **settings) as (served, upstream):
        await served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", KEY)])
        await served.stub.CreateEmbeddingUnary(unary())

    assert [visit.headers["x-api-key"] for visit in upstream.visits] == [KEY, "of-the-server"]


async def test_a_wrong_key_is_its_owners_fault(scripted: Scripted) -> None:
    """A refused key of the caller's is UNAUTHENTICATED, of the server's FAILED_PRECONDITION; neither is repeated."""
    async with scripted(refuse, api_key="of-the-server", accept_upstream_keys=True) as (served, _):
        for metadata, code, reason in (
            ([("x-upstream-api-key", KEY)], grpc.StatusCode.UNAUTHENTICATED, "CALLER_UPSTREAM_CREDENTIALS"),
            ([], grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_CREDENTIALS"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.stub.CreateEmbeddingUnary(unary(), metadata=metadata)
            failure = failed(caught.value)
            assert (failure.code, failure.info.reason) == (code, reason)
            if metadata:
                assert KEY not in str(failure.trailers)


@pytest.mark.parametrize("key", ["", "a b", "k" * 257])
async def test_a_key_that_cannot_be_sent_is_refused(scripted: Scripted, key: str) -> None:
    """What is no key never reaches the upstream, and the message does not repeat it."""
    async with scripted(answer, accept_upstream_keys=True) as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", key)])

    assert list(failed(caught.value).fields) == ["x-upstream-api-key"]
    assert not upstream.visits


async def test_two_keys_are_none(scripted: Scripted) -> None:
    """A call with two keys is refused, rather than billed to one of them or to the server."""
    async with scripted(answer, api_key="of-the-server", accept_upstream_keys=True) as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", KEY)] * 2)

    assert list(failed(caught.value).fields) == ["x-upstream-api-key"]
    assert not upstream.visits
