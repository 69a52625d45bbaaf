"""Graceful shutdown under load: each call is answered, or rejected with a status that clients retry."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import text_input
from tests.support.ports import held_port
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import answer

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])


def stub_of(channel: grpc.aio.Channel) -> Any:
    return embedding_pb2_grpc.EmbeddingServiceStub(channel)


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
