"""A server whose event loop is blocked for longer than gRPC's own limit."""

import asyncio
import collections
import time

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import text_input
from tests.support.serving import Scripted
from tests.support.upstreams import answer

TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
CALLS = 300  # far more than the accept loops of the server
BLOCKED_SECONDS = 35  # by default gRPC cancels calls that nothing accepts for 30 s


async def test_calls_that_arrive_while_the_event_loop_is_blocked(scripted: Scripted) -> None:
    """Calls that the event loop accepts after 35 s are answered with OK, none is cancelled; a metric shows it."""
    async with scripted(answer, concurrency_queue_per_modality=CALLS) as (served, _):
        with grpc.insecure_channel(served.app.target) as channel:
            stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
            calls = [stub.CreateEmbeddingUnary.future(TEXT, timeout=120) for _ in range(CALLS)]
            time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - it blocks the server's event loop, which is this one
            silence = served.metric("embedwire_event_loop_silence_seconds")
            codes = await asyncio.to_thread(lambda: collections.Counter(call.code() for call in calls))

    assert codes == {grpc.StatusCode.OK: CALLS}
    assert silence >= BLOCKED_SECONDS - 2  # a heartbeat a second
