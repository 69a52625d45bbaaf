"""The spans of calls, inputs and requests to the upstream."""

from typing import Any

from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.tracing.conftest import Traced
from tests.support.messages import request, text_input
from tests.support.otlp import Receiver
from tests.support.serving import Served
from tests.support.upstreams import Visit, reply

CALL, INPUT, ATTEMPT = "embedwire.v1.EmbeddingService/CreateEmbedding", "embeddings marengo3.0", "POST /embed"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def embed(served: Served, *inputs: pb.Input, **options: Any) -> list[pb.CreateEmbeddingResponse]:
    """Embed inputs, by default one text; return the events."""
    call = served.stub.CreateEmbedding(request(*(inputs or (text_input(),))), timeout=30, **options)
    return [event async for event in call]


async def test_a_call_is_a_tree_of_three_spans(traced: Traced, receiver: Receiver) -> None:
    """The span of a call contains that of its input, which contains that of the request to the upstream."""
    headers = []

    async def script(visit: Visit) -> None:
        headers.append(visit.headers)
        await visit.answer(reply(), x_trace_id="abc")

    async with traced(script) as served:
        await embed(served, metadata=(("traceparent", PARENT), ("tracestate", "vendor=value")))
        await receiver.received(3)

    (call,), (item,), (attempt,) = map(receiver.named, (CALL, INPUT, ATTEMPT))
    assert {one.trace_id for one in receiver.spans} == {PARENT.split("-")[1]}
    assert [call.parent_id, item.parent_id, attempt.parent_id] == [PARENT.split("-")[2], call.span_id, item.span_id]
    assert {one.span.trace_state for one in receiver.spans} == {"vendor=value"}
    assert headers[0]["traceparent"] == f"00-{call.trace_id}-{attempt.span_id}-01"
    assert headers[0]["tracestate"] == "vendor=value"
