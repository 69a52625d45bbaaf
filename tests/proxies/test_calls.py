"""Calls through each proxy: answers, segments one by one, cancellation, deadlines, health."""

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.rpc.health import SERVICE
from tests.proxies.calls import SECONDS, responses_of, text
from tests.proxies.proxy import Proxy
from tests.proxies.stage import NAMES, Stage, handled
from tests.support import http2
from tests.support.messages import request, results, segments, text_input, url_input
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

SERVING = health_pb2.HealthCheckResponse.SERVING
UNARY = "/embedwire.v1.EmbeddingService/CreateEmbeddingUnary"


async def test_a_text_is_embedded_by_one_message(proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A unary call is answered, with the caller's request id in its trailers."""
    call = proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS, metadata=[("x-request-id", "abc")])
    answer = await call
    trailers = dict(await call.trailing_metadata())

    assert len(answer.embeddings[0].segments[0].vector.float_values.values) == 512
    assert trailers["x-request-id"] == "abc"
    assert len(upstream.visits) == 1


async def test_texts_are_embedded_by_a_stream(proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A stream brings a segment and a result of each input."""
    call = proxy.stub.CreateEmbedding(request(*[text_input()] * 3), timeout=SECONDS)
    responses = await responses_of(call)

    assert [len(segment.vector.float_values.values) for segment in segments(responses)] == [512] * 3
    assert sorted(results(responses)) == [0, 1, 2]
    assert len(upstream.visits) == 3


async def test_a_segment_is_passed_on_at_once(proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """The caller has the first segment while the upstream holds back the rest of its reply."""
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    rest_is_wanted = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.head(length=len(body))
        await visit.send(body[: len(body) // 2])
        await rest_is_wanted.wait()
        await visit.send(body[len(body) // 2 :])

    upstream.script = script
    call = proxy.stub.CreateEmbedding(request(url_input("audio", "http://media.test/a.mp3")), timeout=SECONDS)
    first = [await anext(aiter(call))]
    rest_is_wanted.set()
    rest = await responses_of(call)

    assert [segment.segment_index for segment in segments(first)] == [0]
    assert [segment.segment_index for segment in segments(rest)] == [1, 2]


async def test_a_cancelled_call_is_cancelled_at_the_server(
    stage: Stage, proxy: Proxy, upstream: ScriptedHttpServer
) -> None:
    """A cancellation by the caller ends the call at the server, which aborts its request to the upstream."""
    upstream.script = Visit.gone
    before = stage.handled("CANCELLED")
    call = proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS)
    waiting = asyncio.ensure_future(call.code())
    await until(lambda: len(upstream.visits) == 1)
    call.cancel()

    assert await waiting is grpc.StatusCode.CANCELLED
    await upstream.visits[0].gone()
    await until(lambda: stage.handled("CANCELLED") == before + 1)


@pytest.mark.parametrize("name", NAMES)
async def test_a_deadline_reaches_the_server(
    stage: Stage, silent_replica: ServerProcess, name: str, tmp_path: Path
) -> None:
    """The server ends a call at its deadline; here the caller does not."""
    before = handled(silent_replica, "DEADLINE_EXCEEDED")
    async with stage.behind(name, tmp_path, replicas=[silent_replica.target] * 2) as proxy:
        proxy.trusted.set_alpn_protocols(["h2"])
        async with http2.Connection.open(proxy.target, tls=proxy.trusted) as connection:
            message = http2.message(text().SerializeToString())
            await connection.send(
                http2.call(UNARY, 1, ("grpc-timeout", "400m")),
                http2.frame(http2.DATA, message, flags=http2.END_STREAM, stream=1),
            )
            assert await connection.until(http2.HEADERS) is not None
            await until(lambda: handled(silent_replica, "DEADLINE_EXCEEDED") == before + 1)


async def test_health_is_watched(proxy: Proxy) -> None:
    """A health Watch brings the status immediately, although the stream continues."""
    watch = proxy.health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=SECONDS)

    assert (await anext(aiter(watch))).status == SERVING
    assert not watch.done()
    watch.cancel()


async def test_models_are_listed(proxy: Proxy) -> None:
    """A call that needs no upstream is answered."""
    models = (await proxy.stub.ListModels(pb.ListModelsRequest(), timeout=SECONDS)).models

    assert "marengo3.0" in [model.name for model in models]
