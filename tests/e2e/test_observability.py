"""Metrics, logs and health; none of them contains content of callers."""

import asyncio
import json
import re
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from tests.support import media
from tests.support.messages import events_of, file_input, request, text_input, upload_input, url_input
from tests.support.ports import NO_SERVER
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.upstreams import Visit

SERVICE = "embedwire.v1.EmbeddingService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def drain(call: Any) -> None:
    """Read everything; ignore a failure."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError:
        pass


async def test_metrics_count_what_happened(served: Served) -> None:
    """Calls, inputs, segments and upstream requests are counted and timed by their labels."""
    audio = file_input("audio", media.wav(20), "a.wav")
    await drain(served.stub.CreateEmbedding(request(text_input(), audio, model="marengo2.7"), timeout=20))
    await drain(served.stub.CreateEmbedding(request(file_input("image", b"broken")), timeout=20))
    await drain(served.stub.CreateEmbedding(request(text_input(), model="mine"), timeout=20))

    method = {"grpc_service": SERVICE, "grpc_method": "CreateEmbedding", "grpc_type": "server_stream"}
    # The calls that fail are counted after their status was sent.
    await until(lambda: served.metric("grpc_server_handling_seconds_count", **method) == 3)
    assert served.metric("grpc_server_started_total", **method) == 3
    assert served.metric("grpc_server_handled_total", **method, grpc_code="OK") == 1
    assert served.metric("grpc_server_handled_total", **method, grpc_code="INVALID_ARGUMENT") == 2
    assert served.metric("grpc_server_handling_seconds_count", **method) == 3
    old = {"model": "Marengo-retrieval-2.7"}
    assert served.metric("embedwire_inputs_total", **old, modality="audio", reason="OK") == 1
    assert served.metric("embedwire_segments_total", **old, modality="audio") == 2
    assert served.metric("embedwire_segments_total", **old, modality="text") == 1
    assert served.metric("embedwire_inputs_total", modality="image", reason="INPUT_REJECTED") == 1
    upstream = {"upstream": "sandbox", "endpoint": "/embed"}
    assert served.metric("embedwire_upstream_requests_total", **upstream, modality="audio", reason="OK") == 1
    assert served.metric("embedwire_upstream_requests_total", **upstream, reason="INPUT_REJECTED") == 1
    assert served.metric("embedwire_upstream_request_duration_seconds_count", **upstream) == 3
    assert served.metric("embedwire_requests_total", model="other", reason="INVALID_REQUEST") == 1
    assert served.metric("embedwire_upstream_info", upstream="sandbox") == 1
    assert served.metric("embedwire_build_info") == 1
    assert served.metric("embedwire_inputs_in_flight") == 0


async def test_overhead_excludes_the_upstream(scripted: Scripted) -> None:
    """The time of upstream requests is in its own histogram, and not in the overhead."""

    async def script(visit: Visit) -> None:
        await asyncio.sleep(3)
        await visit.answer({"model_name": "m", "text_embedding": {"segments": [{"float": [0.5] * 512}]}})

    async with scripted(script) as (served, _):
        await drain(served.stub.CreateEmbedding(request(text_input()), timeout=20))
        assert served.metric("embedwire_upstream_request_duration_seconds_sum") >= 3
        assert served.metric("embedwire_gateway_overhead_seconds_sum") < 2
        assert served.metric("embedwire_gateway_overhead_seconds_count", modality="text") == 1


async def test_content_of_a_caller_is_not_in_metrics_or_logs() -> None:
    """Text, URL queries, file bytes and names, keys of inputs and unknown models appear nowhere, at debug level."""
    hostile = "CANARY"
    inputs = [
        text_input(f"{hostile} text", key=f"{hostile} key"),
        url_input("audio", f"http://{NO_SERVER}/a?signature={hostile}"),
        file_input("image", hostile.encode(), f"{hostile}.png"),
        url_input("image", f"http://{hostile.lower()}.invalid/{hostile}"),
    ]
    async with ServerProcess.running(log_level="debug") as server:
        for asked in (request(*inputs), request(*inputs, model=hostile), *[request(item) for item in inputs]):
            await drain(
                server.stub.CreateEmbedding(asked, timeout=20, metadata=[("x-request-id", f"{hostile} {hostile}")])
            )
        await drain(server.stub.CreateEmbedding(request(upload_input("image", file_name=hostile)), timeout=20))
        metrics = await asyncio.to_thread(server.metrics)
        assert await server.terminate() == 0

    assert 'reason="INPUT_REJECTED"' in metrics
    assert len([line for line in server.log if "CreateEmbedding" in line]) == 7
    assert hostile.lower() not in (metrics + "".join(server.log)).lower()


async def test_a_call_is_one_line_with_its_request_id() -> None:
    """In JSON, a call is one object with method, code, reason, duration and the caller's request id."""
    async with ServerProcess.running(log_format="json") as server:
        call = server.stub.CreateEmbedding(request(text_input()), timeout=20, metadata=[("x-request-id", "mine-1")])
        await drain(call)
        await server.terminate()
    lines = [json.loads(line) for line in server.log]
    (line,) = [line for line in lines if line["body"] == "call"]

    assert (line["embedwire.request_id"], line["rpc.response.status_code"], line["embedwire.reason"]) == (
        "mine-1",
        "OK",
        "OK",
    )
    assert (line["rpc.method"], line["gen_ai.request.model"]) == (f"{SERVICE}/CreateEmbedding", "marengo3.0")
    assert line["rpc.server.call.duration"] > 0


async def test_messages_are_counted(served: Served) -> None:
    """Received and sent messages are counted by method, as dashboards of gRPC servers expect."""
    await drain(served.stub.CreateEmbedding(request(text_input(), text_input()), timeout=20))
    unary = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
    for _ in range(2):
        await served.stub.CreateEmbeddingUnary(unary, timeout=20)
    found = served.metrics()

    def count(name: str, kind: str, method: str) -> float:
        labels = f'grpc_method="{method}",grpc_service="{SERVICE}",grpc_type="{kind}"'
        return float(found.split(f"grpc_server_msg_{name}_total{{{labels}}} ")[1].split()[0])

    assert count("received", "server_stream", "CreateEmbedding") == 1
    assert count("sent", "server_stream", "CreateEmbedding") == 4  # two segments, two results
    assert count("received", "unary", "CreateEmbeddingUnary") == 2
    assert count("sent", "unary", "CreateEmbeddingUnary") == 2


async def test_health_is_checked_listed_and_watched(served: Served) -> None:
    """Both services are SERVING once the server is up; an unknown one is NOT_FOUND."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", SERVICE):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)).status == SERVING
    assert set((await stub.List(health_pb2.HealthListRequest(), timeout=60)).statuses) == {"", SERVICE}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert (await watch.read()).status == SERVING
    watch.cancel()


async def test_a_drain_notifies_watchers_and_completes_calls() -> None:
    """On SIGTERM a watch gets NOT_SERVING and ends, a running call completes, and the drain ends before its grace."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer({"model_name": "m", "text_embedding": {"segments": [{"float": [0.5] * 512}]}})

    async with ServerProcess.running(script, shutdown_grace_period=60) as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        assert (await watch.read()).status == SERVING
        call = server.stub.CreateEmbedding(request(text_input()), timeout=30)
        taking = asyncio.ensure_future(_take(call))
        await until(lambda: 'embedwire_inputs_in_flight{modality="text"} 1.0' in server.metrics())
        ending = asyncio.ensure_future(server.terminate())
        assert (await watch.read()).status == NOT_SERVING
        go_on.set()
        assert await watch.read() is grpc.aio.EOF
        assert [event.WhichOneof("event") for event in events_of(await taking)] == ["segment", "result"]
        assert await ending == 0


async def _take(call: Any) -> list[pb.CreateEmbeddingResponse]:
    return [event async for event in call]


async def test_number_of_series_is_limited(serve: Serve) -> None:
    """Unknown models, methods and request ids add no series: they share one label value or are not labels."""
    async with serve() as served:
        await drain(served.stub.CreateEmbedding(request(text_input(), model="first"), timeout=20))
        await _call_unknown_method(served, "first")
        before = _series(served.metrics())
        for number in range(50):
            await drain(served.stub.CreateEmbedding(request(text_input(), model=f"model-{number}"), timeout=20))
            await _call_unknown_method(served, f"Method{number}")
        assert _series(served.metrics()) == before


async def _call_unknown_method(served: Served, name: str) -> None:
    raw: dict[str, Any] = {"request_serializer": bytes, "response_deserializer": bytes}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(f"/{SERVICE}/{name}", **raw)(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def _series(metrics: str) -> set[str]:
    return {re.sub(r" \S+$", "", line) for line in metrics.splitlines() if not line.startswith("#")}
