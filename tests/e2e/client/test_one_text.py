"""One text alone: `embed` sends it by the unary call, which gives the same as a stream."""

from typing import Any

import pytest

from embedwire import GatewayError, Image, RequestError, Text
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import Connect
from tests.e2e.client.services import Context, Recorder, service, unary
from tests.e2e.client.uploads import MESSAGE, UNARY, calls
from tests.support.serving import Served


@pytest.mark.parametrize("asked", [Text("a", key="k"), [Text("a", key="k")]], ids=["alone", "list"])
async def test_one_text_is_sent_by_the_unary_call(connect: Connect, served: Served, asked: Any) -> None:
    """One text, alone or in a list, uses the unary call, and gives the vector that a stream gives."""
    async with connect(served.app.target) as client:
        found = await client.embed("marengo3.0", asked, timeout=10)
        assert calls(served) == {UNARY: 1}
        first, _ = await client.embed("marengo3.0", [Text("a", key="k"), Text("b")], timeout=10)

    embedding = found[0] if isinstance(asked, list) else found
    assert calls(served) == {UNARY: 1, MESSAGE: 1}
    assert embedding.vector.tolist() == first.vector.tolist()
    assert embedding.result.input_key == first.result.input_key == "k"
    assert (embedding.result.segment_count, embedding.result.dimensions) == (1, 512)


async def test_everything_else_streams(connect: Connect) -> None:
    """Several texts, one image and no input at all are streamed."""
    recorder = Recorder()
    async with recorder.serving() as target, connect(target) as client:
        for asked in ([Text("a"), Text("b")], Image(data=b"i"), []):
            await client.embed("m", asked, timeout=10)

    assert [type(request) for request in recorder.requests] == [pb.CreateEmbeddingRequest] * 3
    assert {request.max_segments_per_message for request in recorder.requests} == {100}


async def test_the_failure_of_one_text_is_raised(connect: Connect, served: Served) -> None:
    """A text that the server refuses is a RequestError with the violation."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed("marengo3.0", Text(""), timeout=10)
    assert [violation.field for violation in caught.value.violations] == ["inputs[0].text.value"]


@pytest.mark.parametrize("answered", [(), (0, 1)])
async def test_an_answer_for_another_number_of_inputs_is_a_server_failure(
    connect: Connect, answered: tuple[int, ...]
) -> None:
    """An answer without the input, or with more than it, is a GatewayError."""

    async def answer(_: Any, __: Context) -> pb.CreateEmbeddingUnaryResponse:
        return unary(*answered)

    async with service(CreateEmbeddingUnary=answer) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed("m", Text("a"), timeout=10)


async def test_a_vector_that_cannot_be_read_is_a_server_failure(connect: Connect) -> None:
    """A vector in an unknown form is a GatewayError in a unary answer too."""

    async def answer(_: Any, __: Context) -> pb.CreateEmbeddingUnaryResponse:
        broken = unary(0)
        broken.embeddings[0].segments[0].vector.ClearField("form")
        return broken

    async with service(CreateEmbeddingUnary=answer) as target, connect(target) as client:
        with pytest.raises(GatewayError):
            await client.embed("m", Text("a"), timeout=10)
