"""Graceful shutdown: which calls are answered, which are rejected, and what the server waits for."""

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support import http2
from tests.support.messages import failed, request, text_input, url_input
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, answer, endless, reply

SERVICE = "embedwire.v1.EmbeddingService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
AUDIO = request(url_input("audio", "http://media.test/a.mp3"))


async def half_answer(visit: Visit) -> None:
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    await visit.head(length=len(body))
    await visit.send(body[: len(body) // 2])
    await visit.gone()


async def take(call: Any) -> list[Any]:
    return [event async for event in call]


async def test_running_calls_finish_within_the_grace() -> None:
    """After SIGTERM with many running calls each of them is completed, and then the server exits with 0."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply("audio_embedding", segments=20))

    async with ServerProcess.running(script, shutdown_grace_period=30) as server:
        calls = [asyncio.ensure_future(take(server.stub.CreateEmbedding(AUDIO, timeout=30))) for _ in range(30)]
        await until(lambda: 'inputs_in_flight{modality="audio"} 30.0' in server.metrics())
        ending = asyncio.ensure_future(server.terminate())
        await until(lambda: any("draining" in line for line in server.log))
        go_on.set()
        answers = await asyncio.gather(*calls)
        assert await ending == 0

    assert [len(events) for events in answers] == [21] * 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_calls_that_outlast_the_grace_are_ended(number: signal.Signals) -> None:
    """Calls beyond the grace period end with DRAINING and a retry delay, and abort the upstream; the exit code is 0."""
    gone: list[Visit] = []

    async def script(visit: Visit) -> None:
        await half_answer(visit)
        gone.append(visit)

    async with ServerProcess.running(script, shutdown_grace_period=0.3) as server:
        events = aiter(server.stub.CreateEmbedding(AUDIO, timeout=30))
        await anext(events)
        unary = server.stub.CreateEmbeddingUnary(TEXT, timeout=30)
        await until(lambda: 'inputs_in_flight{modality="text"} 1.0' in server.metrics())
        server.process.send_signal(number)
        for waiting in (anext(events), unary):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await waiting
            failure = failed(caught.value)
            assert (failure.code, failure.info.reason) == (UNAVAILABLE, "DRAINING")
            assert failure.trailers["grpc-retry-pushback-ms"] == "1"
            assert _retry_delay(failure.trailers) == 0
        await until(lambda: len(gone) == 2)
        assert await server.ended(40) == 0

    ended = [line for line in server.log if "reason=DRAINING" in line]
    assert len(ended) == 2  # the calls were ended before the exit
    assert not any("error" in line for line in server.log)


def _retry_delay(trailers: dict[str, Any]) -> float:
    info = error_details_pb2.RetryInfo()
    details = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    assert any(detail.Unpack(info) for detail in details)
    return float(info.retry_delay.ToTimedelta().total_seconds())


async def test_health_changes_before_calls_in_the_drain_delay() -> None:
    """During the shutdown delay health is NOT_SERVING, and calls, also on new connections, are answered."""
    async with ServerProcess.running(answer, shutdown_delay=8) as server:
        health = health_pb2_grpc.HealthStub(server.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        assert (await watch.read()).status == SERVING
        ending = asyncio.ensure_future(server.terminate())
        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=60)).status == NOT_SERVING
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=60)
        async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as late:
            stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(late)
            await stub.CreateEmbeddingUnary(TEXT, timeout=60)
        assert not ending.done()
        assert await ending == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.stub.CreateEmbeddingUnary(TEXT, timeout=60)

    assert caught.value.code() is UNAVAILABLE


async def test_probes_during_the_drain_are_answered() -> None:
    """A health check during the drain gets NOT_SERVING until the port is closed, and is never cancelled."""
    failures: list[grpc.aio.AioRpcError] = []

    async def probe(health: health_pb2_grpc.HealthStub) -> None:
        while True:
            try:
                await health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)
            except grpc.aio.AioRpcError as error:
                failures.append(error)
                return

    async with ServerProcess.running(answer) as server:
        probes = [asyncio.create_task(probe(health_pb2_grpc.HealthStub(server.channel))) for _ in range(20)]
        await until(lambda: "grpc_server_handled_total" in server.metrics())
        assert await server.terminate() == 0
        await asyncio.gather(*probes)

    assert {failure.code() for failure in failures} == {UNAVAILABLE}
    assert not [failure for failure in failures if "grpc-status-details-bin" in dict(failure.trailing_metadata())]


async def test_a_second_signal_ends_at_once() -> None:
    """A second signal ends the server without waiting for running calls."""
    async with ServerProcess.running(half_answer, shutdown_grace_period=60) as server:
        await anext(aiter(server.stub.CreateEmbedding(AUDIO, timeout=30)))
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: any("draining" in line for line in server.log))
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended(40) == -signal.SIGTERM  # the grace period is longer


async def test_a_reflection_stream_does_not_delay_the_drain() -> None:
    """A reflection stream that its client keeps open is ended with DRAINING."""
    async with ServerProcess.running(answer, shutdown_grace_period=60) as server:
        stream = reflection_pb2_grpc.ServerReflectionStub(server.channel).ServerReflectionInfo(timeout=60)
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await stream.read()).HasField("list_services_response")
        assert await server.terminate() == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()

    assert (caught.value.code(), failed(caught.value).info.reason) == (UNAVAILABLE, "DRAINING")


@pytest.mark.parametrize("speaks", [False, True], ids=["silent", "without-acknowledgements"])
async def test_an_open_connection_does_not_delay_the_drain(speaks: bool) -> None:  # noqa: FBT001
    """Once all calls have ended, connections that their clients keep open are closed."""
    connect: Callable[[str], Any] = http2.Connection.open if speaks else http2.tcp
    async with ServerProcess.running(answer, shutdown_grace_period=60) as server, connect(server.target):
        assert await asyncio.wait_for(server.terminate(), 40) == 0


async def test_a_caller_that_reads_nothing_does_not_delay_the_drain() -> None:
    """A stalled call ends with the grace period, although its caller does not read the status either."""
    async with ServerProcess.running(endless, shutdown_grace_period=0.3) as server:
        events = aiter(server.stub.CreateEmbedding(AUDIO, timeout=60))
        await anext(events)
        assert await asyncio.wait_for(server.terminate(), 40) == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await take(events)

    assert caught.value.code() is UNAVAILABLE


async def test_an_upstream_outage_does_not_change_readiness(scripted: Scripted) -> None:
    """While every call fails because of the upstream, the server stays alive and ready."""

    async def script(visit: Visit) -> None:
        visit.writer.transport.abort()

    async with scripted(script) as (served, _):
        health = health_pb2_grpc.HealthStub(served.channel)
        for _ in range(10):
            call = served.stub.CreateEmbeddingUnary(
                pb.CreateEmbeddingUnaryRequest.FromString(_no_retries()), timeout=60
            )
            assert await call.code() is not OK
            for service in ("", SERVICE):
                status = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
                assert status.status == SERVING


def _no_retries() -> bytes:
    return request(text_input(), max_retries=0).SerializeToString()
