"""A replica behind each proxy is stopped under load, or crashes."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.proxies.calls import SECONDS, failed_or_none, text
from tests.proxies.proxy import Proxy
from tests.proxies.stage import NAMES, Stage, handled
from tests.support.load import OK, Load, ends_with
from tests.support.ports import held_port
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import answer

CALLERS = 32
# For HAProxy and Envoy, more than the interval and the timeout of their health checks together. nginx has none.
SHUTDOWN_DELAYS = {"nginx": 0, "haproxy": 3, "envoy": 3}


def replica(**settings: Any) -> contextlib.AbstractAsyncContextManager[ServerProcess]:
    return ServerProcess.running(answer, concurrency_queue_per_modality=1000, **settings)


@pytest.mark.parametrize("name", NAMES)
async def test_a_drain_of_one_of_two_replicas_fails_no_call(stage: Stage, name: str, tmp_path: Path) -> None:
    """SIGTERM to one replica, which has served calls, fails none of those that run, follow or are in between."""

    async def scenario() -> Load:
        async with contextlib.AsyncExitStack() as stack:
            replicas = [await stack.enter_async_context(replica(shutdown_delay=SHUTDOWN_DELAYS[name])) for _ in "ab"]
            targets = [one.target for one in replicas]
            proxy = await stack.enter_async_context(stage.behind(name, tmp_path, replicas=targets))
            async with Load.of_texts(proxy.channel, CALLERS, timeout=SECONDS).running() as load:
                await until(lambda: all(handled(one, "OK") > CALLERS for one in replicas))
                assert await replicas[0].terminate() == 0
                before = load.codes[OK]
                await until(lambda: load.codes[OK] > before + 20 * CALLERS)
        return load

    assert await ends_with({OK}, scenario)


async def test_calls_after_a_crash_of_one_of_two_replicas_go_to_the_other(stage: Stage, tmp_path: Path) -> None:
    """Calls that the crashed replica cannot get do not fail, although no health check has noticed yet."""
    async with contextlib.AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in "ab"]
        targets = [one.target for one in replicas]
        proxies = [
            await stack.enter_async_context(stage.behind(name, tmp_path / name, replicas=targets)) for name in NAMES
        ]
        for proxy in proxies:
            await asyncio.gather(*[proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS) for _ in range(CALLERS)])
        replicas[0].kill()
        await replicas[0].process.wait()
        calls = [proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS) for proxy in proxies for _ in range(CALLERS)]
        errors = await asyncio.gather(*map(failed_or_none, calls))

    assert [error for error in errors if error is not None] == []


async def test_nginx_uses_a_replica_as_soon_as_it_serves_again(stage: Stage, tmp_path: Path) -> None:
    """In a rolling restart, the second replica may stop although the first refused connections a moment ago."""
    with held_port() as port:
        async with contextlib.AsyncExitStack() as stack:
            second = await stack.enter_async_context(replica())
            targets = [f"127.0.0.1:{port}", second.target]
            proxy = await stack.enter_async_context(stage.behind("nginx", tmp_path, replicas=targets))
            while_the_first_is_down = [await failed_or_none(unary(proxy)) for _ in range(4)]
            await stack.enter_async_context(replica(listen=targets[0]))
            assert await second.terminate() == 0
            afterwards = [await failed_or_none(unary(proxy)) for _ in range(4)]

    assert while_the_first_is_down + afterwards == [None] * 8


def unary(proxy: Proxy) -> Any:
    return proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS)
