"""Connections to the upstream that hang: the time limit, and cancellation."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import httpx
import pytest

from embedwire_server.core.failure_causes import Cause
from embedwire_server.core.proxies import Proxy
from embedwire_server.upstreams.http import dialer
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.resolver import Resolver
from tests.e2e.connect.peers import CONNECTED, Caller, failure, full, hanging, nothing, resolving, sockets
from tests.support.forward_proxy import ForwardProxy

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def silent() -> AsyncGenerator[int]:
    """A server that accepts and reads, and does not answer."""
    async with ForwardProxy(answer=b"").running() as server:
        yield server.port


STAGES = ["name lookup", "TCP", "TLS", "CONNECT", "TLS to the proxy", "TLS in the tunnel"]
CAUSES = dict(
    zip(
        STAGES,
        [Cause.CONNECT_TIMEOUT] * 3 + [Cause.PROXY_UNREACHABLE] * 2 + [Cause.CONNECT_TIMEOUT],
        strict=True,
    )
)


@contextlib.asynccontextmanager
async def stuck(stage: str, seconds: float = dialer.CONNECT_SECONDS) -> AsyncGenerator[Dialer]:
    """A dialer whose connects hang in one stage."""
    async with contextlib.AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(silent())
        tunnel = await stack.enter_async_context(ForwardProxy(answer=CONNECTED).running())
        dead = stack.enter_context(full())
        https = httpx.URL("https://upstream.test")
        yield {
            "name lookup": lambda: Dialer(
                httpx.URL("http://upstream.test"), resolver=Resolver(hanging), seconds=seconds
            ),
            "TCP": lambda: Dialer(httpx.URL("http://upstream.test"), resolver=resolving(dead, dead), seconds=seconds),
            "TLS": lambda: Dialer(https, resolver=resolving(("127.0.0.1", quiet)), seconds=seconds),
            "CONNECT": lambda: Dialer(https, Proxy("127.0.0.1", quiet), seconds=seconds),
            "TLS to the proxy": lambda: Dialer(https, Proxy("127.0.0.1", quiet, is_tls=True), seconds=seconds),
            "TLS in the tunnel": lambda: Dialer(https, Proxy("127.0.0.1", tunnel.port), seconds=seconds),
        }[stage]()


@pytest.mark.parametrize("stage", STAGES)
async def test_the_time_limit(stage: str) -> None:
    """Each stage that does not end is ended by the one connect timeout."""
    async with stuck(stage, 0.4) as made:
        assert (await failure(made))[1] is CAUSES[stage]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_connect_that_is_cancelled(stage: str) -> None:
    """A cancelled connect ends immediately in each stage, and leaves no socket, and no task but the shared lookup."""
    async with stuck(stage) as made:
        before, tasks = sockets(), len(asyncio.all_tasks())
        connecting = [asyncio.create_task(made.connect(Caller, nothing)) for _ in range(3)]
        async with asyncio.timeout(20):  # they have sockets, or all wait for the lookup
            while sockets() < before + (0 if stage == "name lookup" else 3):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # to various points of the stage: a connect may be cancelled at any of them
        for connect in connecting:
            connect.cancel()
        async with asyncio.timeout(8):
            await asyncio.wait(connecting)
            assert all(connect.cancelled() for connect in connecting)
            while sockets() > before or len(asyncio.all_tasks()) > tasks + (stage == "name lookup"):
                await asyncio.sleep(0.01)
