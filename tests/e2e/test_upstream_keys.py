"""Upstream keys that callers send."""

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


async def test_a_key_is_refused_unless_callers_keys_are_enabled(served: Served) -> None:
    """By default a call with a key fails, and the message names what to change."""
    call = served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", KEY)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call

    failure = failed(caught.value)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert list(failure.fields) == ["x-upstream-api-key"]
    assert KEY not in str(caught.value)


async def test_the_callers_key_replaces_the_servers(scripted: Scripted) -> None:
    """The upstream gets the caller's key if there is one, and the server's own otherwise."""
    settings = {"api_key": "of-the-server", "auth_allow_caller_api_keys": True}
    async with scripted(answer, **settings) as (served, upstream):
        await served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", KEY)])
        await served.stub.CreateEmbeddingUnary(unary())

    assert [visit.headers["x-api-key"] for visit in upstream.visits] == [KEY, "of-the-server"]


async def test_a_wrong_key_is_attributed_to_its_owner(scripted: Scripted) -> None:
    """A rejected key of the caller is UNAUTHENTICATED, of the server FAILED_PRECONDITION; neither is retried."""
    async with scripted(refuse, api_key="of-the-server", auth_allow_caller_api_keys=True) as (served, _):
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
async def test_a_malformed_key_is_refused(scripted: Scripted, key: str) -> None:
    """A malformed key never reaches the upstream, and the message does not quote it."""
    async with scripted(answer, auth_allow_caller_api_keys=True) as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", key)])

    assert list(failed(caught.value).fields) == ["x-upstream-api-key"]
    assert not upstream.visits


async def test_two_keys_are_refused(scripted: Scripted) -> None:
    """A call with two keys is rejected, rather than billed to one of them or to the server."""
    async with scripted(answer, api_key="of-the-server", auth_allow_caller_api_keys=True) as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(unary(), metadata=[("x-upstream-api-key", KEY)] * 2)

    assert list(failed(caught.value).fields) == ["x-upstream-api-key"]
    assert not upstream.visits
