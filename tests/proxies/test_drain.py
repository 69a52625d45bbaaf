"""A replica behind each proxy is stopped under load."""

import contextlib
from pathlib import Path

import pytest

from tests.proxies.calls import SECONDS
from tests.proxies.stage import NAMES, Stage, handled
from tests.support.load import OK, Load, ends_with
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import answer

CALLERS = 8
# For HAProxy and Envoy, more than the interval and the timeout of their health checks together. nginx has none.
SHUTDOWN_DELAYS = {"nginx": 0, "haproxy": 3, "envoy": 3}


@pytest.mark.parametrize("name", NAMES)
async def test_a_drain_of_one_of_two_replicas_fails_no_call(stage: Stage, name: str, tmp_path: Path) -> None:
    """SIGTERM to one replica, which has served calls, fails none of those that run, follow or are in between."""

    async def scenario() -> Load:
        async with contextlib.AsyncExitStack() as stack:
            replicas = [
                await stack.enter_async_context(ServerProcess.running(answer, shutdown_delay=SHUTDOWN_DELAYS[name]))
                for _ in range(2)
            ]
            targets = [replica.target for replica in replicas]
            proxy = await stack.enter_async_context(stage.behind(name, tmp_path, replicas=targets))
            async with Load.of_texts(proxy.channel, CALLERS, timeout=SECONDS).running() as load:
                await until(lambda: all(handled(replica, "OK") > CALLERS for replica in replicas))
                assert await replicas[0].terminate() == 0
                before = load.codes[OK]
                await until(lambda: load.codes[OK] > before + 20 * CALLERS)
        return load

    assert await ends_with({OK}, scenario)
