"""Servers that share the rate limits through Redis: processes of their own, and an upstream that counts."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import text_input
from tests.support.ports import NO_SERVER
from tests.support.process import ServerProcess
from tests.support.redis import RedisServer
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
KEY = "tlk_secret_key"


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def code(server: ServerProcess) -> grpc.StatusCode:
    found: grpc.StatusCode = await server.stub.CreateEmbeddingUnary(TEXT, timeout=10).code()
    return found


@contextlib.asynccontextmanager
async def replicas(number: int, redis: str, **settings: Any) -> AsyncGenerator[list[ServerProcess]]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedHttpServer(answer).running())
        chosen: Any = {"upstream": upstream.base_url, "quota_store": redis, "quota_replicas": number} | settings
        servers = [await stack.enter_async_context(ServerProcess.running(key=KEY, **chosen)) for _ in range(number)]
        yield servers


@pytest.mark.parametrize("workers", [1, 2])
async def test_one_replica_uses_the_whole_limit(server: RedisServer, workers: int) -> None:
    """Once the store has settled, one replica gets the whole limit, though its part is half of it."""
    async with asyncio.timeout(120):
        while (last := await after_the_whole_limit(server, workers)) is None:
            await server.command("FLUSHALL")
    assert last == EXHAUSTED
    keys = await server.command("KEYS", "*")
    assert all(key.startswith("embedwire:quota:{") for key in keys.split())
    assert KEY not in keys


async def after_the_whole_limit(server: RedisServer, workers: int) -> grpc.StatusCode | None:
    """Return the code of a call beyond the limit; None if Redis was too slow: it may have counted permits in vain."""
    async with replicas(2, server.text, rate_limits_text_requests_per_day=12, workers=workers) as servers:
        count = 0
        while count < 12:
            if any([await slow_operations(servers[0], worker) for worker in range(workers)]):
                return None
            count += await code(servers[0]) == OK
            await asyncio.sleep(0.1)
        return await code(servers[0])


async def slow_operations(server: ServerProcess, worker: int) -> float:
    page = await asyncio.to_thread(server.metrics, worker)
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("embedwire_redis_errors_total"))


async def test_without_redis_each_has_its_part() -> None:
    """Servers start without Redis, warn, and keep to their part of the limits; the log has no password."""
    async with replicas(2, f"redis://:hidden@{NO_SERVER}/0", rate_limits_text_requests_per_day=10) as servers:
        for one in servers:
            assert [await code(one) for _ in range(6)] == [OK] * 5 + [EXHAUSTED]
            log = "".join(one.log)
            assert "Redis is unavailable" in log
            assert "hidden" not in log


def test_redis_is_not_loaded_without_a_store() -> None:
    """The package is imported only by a server that uses it."""
    program = "import sys, embedwire_server.app; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_configuration_masks_the_password() -> None:
    """`embedwire-server config` shows the URLs without their credentials."""
    flags = ["--quota-store", "redis://:hidden@h/1", "--quota-replicas", "2", "--cache-store", "rediss://u:hidden@h"]
    command = [sys.executable, "-m", "embedwire_server", "config", "show", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 'store = "redis://***@h/1"' in done.stdout
    assert 'store = "rediss://***@h"' in done.stdout
    assert "hidden" not in done.stdout + done.stderr
