"""Clients that retry according to their service config."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.e2e.hardening.support import TEXT
from tests.support.messages import failed, text_input
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, reply


def stub_of(channel: grpc.aio.Channel) -> Any:
    return embedding_pb2_grpc.EmbeddingServiceStub(channel)


RETRYING = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
                },
            }
        ]
    }
)


@pytest.mark.parametrize("status", [503, 429])
async def test_a_client_does_not_retry_what_the_server_has_retried(scripted: Scripted, status: int) -> None:
    """A client with a retry policy makes one call: a negative pushback of the server stops its retries."""

    async def script(visit: Visit) -> None:
        await visit.answer({"code": "no", "message": "not now"}, status)

    once = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()], max_retries=0)
    async with (
        scripted(script) as (served, upstream),
        grpc.aio.insecure_channel(served.app.target, [("grpc.service_config", RETRYING)]) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_of(channel).CreateEmbeddingUnary(once, timeout=60)

    assert len(upstream.visits) == 1
    assert failed(caught.value).trailers["grpc-retry-pushback-ms"] == "-1"


async def test_a_client_retries_a_rejected_call(scripted: Scripted) -> None:
    """OVERLOADED has a pushback delay, and a client with a retry policy retries until it is answered."""
    was_refused = asyncio.Event()

    async def script(visit: Visit) -> None:
        await was_refused.wait()
        await visit.answer(reply())

    async with (
        scripted(script, concurrency_inputs_per_modality=1, concurrency_queue_per_modality=0) as (served, upstream),
        grpc.aio.insecure_channel(served.app.target, [("grpc.service_config", RETRYING)]) as channel,
    ):
        stub = stub_of(channel)
        first = stub.CreateEmbeddingUnary(TEXT, timeout=20)
        await until(lambda: len(upstream.visits) == 1)
        second = asyncio.ensure_future(stub.CreateEmbeddingUnary(TEXT, timeout=20).code())
        await until(lambda: served.metric("embedwire_requests_total", reason="OVERLOADED") > 0)
        was_refused.set()
        assert [await first.code(), await second] == [grpc.StatusCode.OK] * 2
