"""Graceful shutdown: which calls are answered, which are rejected, and what the server waits for."""

import asyncio
import collections
import contextlib
import json
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
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
from tests.support.ports import held_port
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, endless, reply

SERVICE = "embedwire.v1.EmbeddingService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
AUDIO = request(url_input("audio", "http://media.test/a.mp3"))


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def half_answer(visit: Visit) -> None:
    body = json.dumps(reply("audio_embedding", segments=3)).encode()
    await visit.head(length=len(body))
    await visit.send(body[: len(body) // 2])
    await visit.gone()


def stub_of(channel: grpc.aio.Channel) -> Any:
    return embedding_pb2_grpc.EmbeddingServiceStub(channel)


async def take(call: Any) -> list[Any]:
    return [event async for event in call]


class Load:
    """Callers that repeat their call as soon as it is answered; the status codes of all calls.

    Attributes:
        longest_pause: seconds for which the event loop of the callers did not run.
    """

    def __init__(self, callers: Sequence[Callable[[], Awaitable[grpc.StatusCode]]]) -> None:
        self.codes: collections.Counter[grpc.StatusCode] = collections.Counter()
        self._callers = callers
        self._is_over = False
        self.longest_pause = 0.0

    @classmethod
    def of_texts(cls, channel: grpc.aio.Channel, callers: int, **options: Any) -> "Load":
        return cls([lambda: stub_of(channel).CreateEmbeddingUnary(TEXT, **options).code()] * callers)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Load"]:
        callers = [asyncio.create_task(self._call_on(call)) for call in self._callers]
        callers.append(asyncio.create_task(self._measure()))
        try:
            await until(lambda: self.codes[OK] > 2 * len(self._callers))
            yield self
        finally:
            self._is_over = True
            await asyncio.gather(*callers)

    async def _call_on(self, call: Callable[[], Awaitable[grpc.StatusCode]]) -> None:
        while not self._is_over:
            self.codes[code := await call()] += 1
            if code is not OK:
                await asyncio.sleep(0.01)

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_over:
            start = loop.time()
            await asyncio.sleep(0.01)
            self.longest_pause = max(self.longest_pause, loop.time() - start)


async def ends_with(codes: set[grpc.StatusCode], scenario: Callable[[], Awaitable[Load]]) -> bool:
    """Whether the calls end with these codes.

    A scenario is repeated if its callers got no CPU for a part of the 150 ms for which a drain waits for further calls:
    the server has no information about calls that were not sent.
    """
    for _ in range(5):
        load = await scenario()
        if set(load.codes) == codes:
            return True
        if load.longest_pause < 0.05:
            return False
    return False


@pytest.mark.parametrize("callers", [4, 100])
async def test_a_drain_cancels_no_call(callers: int) -> None:
    """Under load, a drain answers each call or rejects it with UNAVAILABLE, which clients retry."""

    async def scenario() -> Load:
        async with (
            ServerProcess.running(answer, concurrency_queue_per_modality=1000) as server,
            Load.of_texts(server.channel, callers, timeout=10).running() as load,
        ):
            assert await server.terminate() == 0
            await until(lambda: load.codes[UNAVAILABLE] > 0)
        return load

    assert await ends_with({OK, UNAVAILABLE}, scenario)


async def test_the_end_of_the_health_port_cancels_no_probe() -> None:
    """Probes during the shutdown of the health port are answered or rejected with UNAVAILABLE."""

    async def scenario() -> Load:
        async with contextlib.AsyncExitStack() as stack:
            target = f"127.0.0.1:{stack.enter_context(held_port())}"
            server = await stack.enter_async_context(ServerProcess.running(answer, health_listen=target))
            own = [("grpc.use_local_subchannel_pool", 1)]
            channels = [await stack.enter_async_context(grpc.aio.insecure_channel(target, own)) for _ in range(30)]
            stubs = [health_pb2_grpc.HealthStub(channel) for channel in channels]
            probes = [lambda stub=stub: stub.Check(health_pb2.HealthCheckRequest()).code() for stub in stubs]
            async with Load(probes).running() as load:
                assert await server.terminate() == 0
                await until(lambda: load.codes[UNAVAILABLE] > 0)
        return load

    for _ in range(3):
        assert await ends_with({OK, UNAVAILABLE}, scenario)


async def test_a_client_that_waits_for_ready_loses_no_call() -> None:
    """A client with wait_for_ready connects to the next server on the port, and loses no call."""

    async def scenario() -> Load:
        async with contextlib.AsyncExitStack() as stack:
            listen = f"127.0.0.1:{stack.enter_context(held_port())}"
            first = await stack.enter_async_context(
                ServerProcess.running(answer, concurrency_queue_per_modality=1000, listen=listen)
            )
            channel = await stack.enter_async_context(_channel(first.target))
            async with Load.of_texts(channel, 20, timeout=30, wait_for_ready=True).running() as load:
                assert await first.terminate() == 0
                before = load.codes[OK]
                await stack.enter_async_context(
                    ServerProcess.running(answer, concurrency_queue_per_modality=1000, listen=listen)
                )
                await until(lambda: load.codes[OK] > before + 100)
        return load

    assert await ends_with({OK}, scenario)


async def test_a_rolling_restart_loses_no_call() -> None:
    """Two replicas behind round robin are replaced one after the other under load, and every call is answered."""

    async def scenario() -> Load:
        async with contextlib.AsyncExitStack() as stack:
            targets = [f"127.0.0.1:{stack.enter_context(held_port())}" for _ in range(2)]
            replicas = [await stack.enter_async_context(ServerProcess.running(answer, listen=one)) for one in targets]
            channel = await stack.enter_async_context(_channel(*[replica.target for replica in replicas]))
            async with Load.of_texts(channel, 16, timeout=30, wait_for_ready=True).running() as load:
                for replica in replicas:
                    assert await replica.terminate() == 0
                    again = await stack.enter_async_context(ServerProcess.running(answer, listen=replica.target))
                    await until(lambda server=again: 'code="OK"' in server.metrics())  # type: ignore[misc]
                await until(lambda: load.codes[OK] > 700)
        return load

    assert await ends_with({OK}, scenario)


@contextlib.asynccontextmanager
async def _channel(*targets: str) -> AsyncGenerator[grpc.aio.Channel]:
    options = [("grpc.lb_policy_name", "round_robin"), ("grpc.max_reconnect_backoff_ms", 200)]
    async with grpc.aio.insecure_channel(f"ipv4:{','.join(targets)}", options) as channel:
        yield channel


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
        assert await asyncio.wait_for(server.process.wait(), 10) == 0

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
    async with ServerProcess.running(answer, shutdown_delay=1.5) as server:
        health = health_pb2_grpc.HealthStub(server.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        assert (await watch.read()).status == SERVING
        ending = asyncio.ensure_future(server.terminate())
        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == NOT_SERVING
        await server.stub.CreateEmbeddingUnary(TEXT, timeout=5)
        async with grpc.aio.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as late:
            await stub_of(late).CreateEmbeddingUnary(TEXT, timeout=5)
        assert not ending.done()
        assert await ending == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.stub.CreateEmbeddingUnary(TEXT, timeout=5)

    assert caught.value.code() is UNAVAILABLE


async def test_probes_during_the_drain_are_answered() -> None:
    """A health check during the drain gets NOT_SERVING until the port is closed, and is never cancelled."""
    failures: list[grpc.aio.AioRpcError] = []

    async def probe(health: health_pb2_grpc.HealthStub) -> None:
        while True:
            try:
                await health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
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
        assert await asyncio.wait_for(server.process.wait(), 20) == -signal.SIGTERM  # the grace period is longer


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
        assert await asyncio.wait_for(server.terminate(), 10) == 0


async def test_a_caller_that_reads_nothing_does_not_delay_the_drain() -> None:
    """A stalled call ends with the grace period, although its caller does not read the status either."""
    async with ServerProcess.running(endless, shutdown_grace_period=0.3) as server:
        events = aiter(server.stub.CreateEmbedding(AUDIO, timeout=60))
        await anext(events)
        assert await asyncio.wait_for(server.terminate(), 10) == 0
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
            call = served.stub.CreateEmbeddingUnary(pb.CreateEmbeddingUnaryRequest.FromString(_no_retries()), timeout=9)
            assert await call.code() is not OK
            for service in ("", SERVICE):
                status = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
                assert status.status == SERVING


def _no_retries() -> bytes:
    return request(text_input(), max_retries=0).SerializeToString()
