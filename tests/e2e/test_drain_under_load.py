"""Graceful shutdown under load: each call is answered, or rejected with a status that clients retry."""

import contextlib
from collections.abc import AsyncGenerator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.load import OK, UNAVAILABLE, Load, ends_with
from tests.support.ports import held_port
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import answer


@pytest.mark.parametrize("callers", [4, 100])
async def test_a_drain_cancels_no_call(callers: int) -> None:
    """Under load, a drain answers each call or rejects it with UNAVAILABLE, which clients retry."""

    async def scenario() -> Load:
        async with (
            ServerProcess.running(answer, concurrency_queue_per_modality=1000) as server,
            Load.of_texts(server.channel, callers, timeout=60).running() as load,
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
