"""Statistics of a call in its trailers and its log line."""

import json
import re
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support import media
from tests.support.messages import file_input, request, text_input
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

NUMBER = r"[0-9]+\.[0-9]{3}"
TIMING = re.compile(rf"queue;dur=({NUMBER}), upload;dur=({NUMBER}), upstream;dur=({NUMBER}), decode;dur=({NUMBER})")


async def trailers_of(call: Any) -> dict[str, str]:
    """Read a call to its end, and return its trailers."""
    try:
        async for _ in call:
            pass
        found = await call.trailing_metadata()
    except grpc.aio.AioRpcError as error:
        found = error.trailing_metadata()
    return dict(found)


def upstream_milliseconds(trailers: dict[str, Any]) -> float:
    found = TIMING.fullmatch(trailers["server-timing"])
    assert found is not None
    return float(found[3])


async def test_trailers_of_a_success(served: Served) -> None:
    """The trailers of a stream have the times in milliseconds and the attempts of all inputs together."""
    call = served.stub.CreateEmbedding(request(text_input("a"), text_input("b")), timeout=20)
    trailers = await trailers_of(call)

    assert trailers["embedwire-attempts"] == "2"
    assert upstream_milliseconds(trailers) > 0


async def test_trailers_of_other_methods(served: Served) -> None:
    """A unary reply has the same trailers; a call that embeds nothing has zeros."""
    unary = served.stub.CreateEmbeddingUnary(
        pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()]), timeout=20
    )
    await unary
    assert dict(await unary.trailing_metadata())["embedwire-attempts"] == "1"

    models = served.stub.ListModels(pb.ListModelsRequest(), timeout=20)
    await models
    found = dict(await models.trailing_metadata())
    assert (found["embedwire-attempts"], upstream_milliseconds(found)) == ("0", 0)


async def test_trailers_of_a_failure_after_retries(scripted: Scripted) -> None:
    """A failed call has the attempts that were made and the time of all of them."""

    async def script(visit: Visit) -> None:
        await visit.answer({"code": "internal", "message": "no"}, 503)

    async with scripted(script) as (served, upstream):
        asked = request(text_input())
        asked.max_retries = 1
        trailers = await trailers_of(served.stub.CreateEmbedding(asked, timeout=20))

    assert len(upstream.visits) == 2
    assert trailers["embedwire-attempts"] == "2"
    assert upstream_milliseconds(trailers) > 0
    assert "grpc-status-details-bin" in trailers


async def test_trailers_of_a_rejected_call(served: Served) -> None:
    """A call that is rejected before any input has the trailers too."""
    trailers = await trailers_of(served.stub.CreateEmbedding(request(text_input(), model="mine"), timeout=20))
    assert (trailers["embedwire-attempts"], upstream_milliseconds(trailers)) == ("0", 0)


async def test_log_line_of_a_call() -> None:
    """The log line has modalities, inputs, segments, bytes, attempts, times, cache and the upstream's identifier."""

    async def script(visit: Visit) -> None:
        kind = "audio" if b"audio_file" in visit.body else "text"
        await visit.answer(reply(f"{kind}_embedding", segments=3 if kind == "audio" else 1), X_Trace_Id="T-1")

    sound = media.wav(2)
    async with ServerProcess.running(script, log_format="json", cache_store="memory") as server:
        asked = request(text_input("é"), file_input("audio", sound, "a.wav"))
        await trailers_of(server.stub.CreateEmbedding(asked, timeout=20))
        await trailers_of(server.stub.CreateEmbedding(request(text_input(), model="mine"), timeout=20))
        await server.terminate()
    records = [json.loads(line) for line in server.log]
    line, rejected = [record for record in records if record["body"] == "call"]

    assert set(line["embedwire.modality"].split(",")) == {"text", "audio"}
    names = ("inputs", "segments", "content_bytes", "attempts", "upstream_trace_id", "cache")
    assert [line[f"embedwire.{name}"] for name in names] == [2, 4, 2 + len(sound), 2, "T-1", "miss=2"]
    assert line["embedwire.upstream.duration"] > 0
    assert {"embedwire.queue.duration", "embedwire.upload.duration", "embedwire.decode.duration"} <= line.keys()
    assert "embedwire.inputs" not in rejected


@pytest.mark.parametrize("value", ["key", "spaces in it", "é", "x" * 129, "$KEY"])
async def test_unusable_identifiers_of_the_upstream(value: str) -> None:
    """An identifier that is malformed, or that is the server's key or a part of it, is not logged."""
    key = "secret-key-of-the-server"
    sent = {"key": key, "$KEY": key[7:]}.get(value, value)

    async def script(visit: Visit) -> None:
        await visit.answer(reply("text_embedding"), X_Trace_Id=sent)

    async with ServerProcess.running(script, key=key, log_format="json") as server:
        await trailers_of(server.stub.CreateEmbedding(request(text_input()), timeout=20))
        await server.terminate()

    assert any('"call"' in line for line in server.log)
    assert not any("upstream_trace_id" in line or key[7:] in line for line in server.log)
