"""Uploads through each proxy."""

import asyncio
import hashlib
import os
from typing import Any

import grpc
import pytest

from embedwire.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.proxies.calls import DETAILS, SECONDS, failure_in, responses_of, upload
from tests.proxies.proxy import Proxy
from tests.proxies.stage import Stage
from tests.support.messages import results
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

MEGABYTE = 10**6


async def audio(visit: Visit) -> None:
    await visit.answer(reply("audio_embedding"))


async def test_a_large_upload_arrives_whole(proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A file of 100 MB reaches the upstream, with the declared hash."""
    upstream.script = audio
    data = os.urandom(MEGABYTE) * 100
    messages = upload(data, size_bytes=len(data), sha256=hashlib.sha256(data).digest())
    responses = await responses_of(proxy.stub.CreateEmbeddingFromUpload(messages, timeout=2 * SECONDS))

    assert not results(responses)[0].HasField("failure")
    assert len(upstream.visits[0].body) > len(data)


async def test_an_upload_is_refused_while_it_is_sent(stage: Stage, proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A failure that ends the call early reaches a caller that still sends, with its details.

    HAProxy 2.6 turns the RST_STREAM with NO_ERROR that follows the trailers into one with CANCEL, from which grpcio
    takes the status code.
    """
    codes = {"haproxy": {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.CANCELLED}}

    def refused() -> grpc.RpcError:  # grpc.aio reports INTERNAL for it if it is just sending a message
        with grpc.secure_channel(proxy.target, stage.files.credentials()) as channel:
            messages = upload(bytes(64 * MEGABYTE), size_bytes=1 << 40)
            call = EmbeddingServiceStub(channel).CreateEmbeddingFromUpload(messages, timeout=SECONDS)
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
            return caught.value

    error: Any = await asyncio.to_thread(refused)
    failure = failure_in(dict(error.trailing_metadata())[DETAILS])

    assert error.code() in codes.get(proxy.name, {grpc.StatusCode.INVALID_ARGUMENT})
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [violation.field for violation in failure.field_violations] == [
        "request.inputs[0].audio.source.upload.size_bytes"
    ]
    assert upstream.visits == []
