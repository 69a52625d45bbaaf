"""The quota store on a connection, in real time: faults of Redis, a restart, and servers without it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import pytest

from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.redis_store import RedisQuotaStore, credential_digest
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import (
    LEASE_SECONDS,
    Demand,
    Lease,
    PastUsage,
    QuotaStoreUnavailable,
    UsageHistory,
)
from embedwire_server.policies.redis_connection import RedisConnection
from tests.support.redis import RedisServer

DAY = RateLimit("text requests per day", 100, 86400.0)
T = TypeVar("T")


@contextlib.asynccontextmanager
async def stores(server: RedisServer, number: int) -> AsyncGenerator[list[RedisQuotaStore]]:
    async with contextlib.AsyncExitStack() as stack:
        found = [RedisQuotaStore(RedisConnection(server.url, "quota", Metrics("custom")), "n") for _ in range(number)]
        for store in found:
            await stack.enter_async_context(store.running())
        yield found


def demand(requests: int) -> Demand:
    now = asyncio.get_running_loop().time()
    return Demand(Modality.TEXT, [DAY], requests, 0.0, -float("inf") if requests == 0 else now + 1e6)


async def lasting(request: Callable[[], Awaitable[T]]) -> T:
    """Repeat a request until it succeeds: a busy machine may be too slow for the time limit."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(QuotaStoreUnavailable):
                return await request()
            await asyncio.sleep(0.05)


async def lease(store: RedisQuotaStore, requests: int, history: Callable[[], UsageHistory] = dict) -> Lease:
    return await lasting(lambda: store.lease(demand(requests), history))


async def undisturbed(server: RedisServer, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario with an empty Redis, again if it was too slow for a request, which may have had its effect."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(QuotaStoreUnavailable):
                return await scenario()
            await server.command("FLUSHALL")


async def test_two_servers_share(server: RedisServer) -> None:
    """Servers share a limit; permits are usable now, for the time of a lease, and can be returned."""
    async with stores(server, 2) as (first, second):
        one = await lease(first, 60)
        now = asyncio.get_running_loop().time()
        assert one.available_at <= now <= one.until < now + LEASE_SECONDS
        assert (await lease(second, 60)).permits <= 40  # fewer if an answer was lost
        await lasting(lambda: first.settle(one, one.permits))
        assert (await lease(second, 100)).permits > 0


async def test_a_restart_without_data(server: RedisServer) -> None:
    """After a restart of Redis, a server reports its usage to the new state, which is settling."""
    reported: list[int] = []

    def history() -> UsageHistory:
        reported.append(1)
        return {DAY.name: [PastUsage(1.0, 60.0)]}

    async def scenario() -> None:
        reported.clear()
        async with stores(server, 1) as (store,):
            await store.lease(demand(60), dict)
            await server.restart()
            answer = await lease(store, 0, history)
            assert answer.is_settling
            assert reported
            assert (await store.lease(demand(100), history)).permits == 40

    await undisturbed(server, scenario)


async def test_scripts_are_flushed(server: RedisServer) -> None:
    """A server that has forgotten its scripts gets the script again."""

    async def scenario() -> None:
        async with stores(server, 1) as (store,):
            await store.lease(demand(0), dict)
            await server.command("SCRIPT", "FLUSH")
            await store.back_off(Modality.TEXT, 30.0)
            assert 20 < (await store.lease(demand(0), dict)).back_off <= 30

    await undisturbed(server, scenario)


FAULTS = {
    "full": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    "read-only": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
    "forbidden": (["ACL", "SETUSER", "default", "-evalsha", "-eval"], ["ACL", "SETUSER", "default", "+@all"]),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_server_that_refuses(server: RedisServer, fault: str) -> None:
    """Every method reports a server that is full, read-only or forbids scripts as unavailable, until it works again."""
    breaks, corrects = FAULTS[fault]
    async with stores(server, 1) as (store,):
        one = await lease(store, 1)
        await server.command(*breaks)
        for request in (
            lambda: store.lease(demand(1), dict),
            lambda: store.settle(one, 1),
            lambda: store.back_off(Modality.TEXT, 1.0),
        ):
            with pytest.raises(QuotaStoreUnavailable):
                await request()
        await server.command(*corrects)
        assert (await lease(store, 1)).permits == 1


async def test_cancelled_requests(server: RedisServer) -> None:
    """A request that is cancelled at any moment leaves the store usable."""

    async def scenario() -> None:
        async with stores(server, 1) as (store,):
            await store.lease(demand(0), dict)
            for steps in range(12):
                running = asyncio.create_task(store.lease(demand(1), dict))
                for _ in range(steps):
                    await asyncio.sleep(0)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert (await store.lease(demand(100), dict)).permits >= 88

    await undisturbed(server, scenario)


def test_the_digest_of_a_credential() -> None:
    """It depends on the URL and the key, and contains neither."""
    made = {credential_digest(url, key) for url in ("https://a", "https://b") for key in (None, "k", "l" * 100)}
    assert len(made) == 6
    assert all(len(one) == 32 for one in made)


async def test_the_rights_of_a_user(server: RedisServer) -> None:
    """A user of the ACL needs these rights only, which docs/deployment.md names."""
    rights = ["~embedwire:*", "+ping", "+select", "+eval", "+evalsha", "+get", "+set", "+time"]
    await server.command("ACL", "SETUSER", "embedwire", "on", ">p", *rights)
    url = RedisUrl(server.text.replace("redis://", "redis://embedwire:p@"))
    store = RedisQuotaStore(RedisConnection(url, "quota", Metrics("custom")), "n")
    async with store.running():
        one = await lease(store, 1)
        await lasting(lambda: store.settle(one, 1))
        await lasting(lambda: store.back_off(Modality.TEXT, 1.0))


async def test_an_earlier_state(server: RedisServer) -> None:
    """If Redis goes back to an earlier state, as from a snapshot, servers report their usage as after a loss."""

    async def scenario() -> None:
        async with stores(server, 2) as (first, second):
            await first.lease(demand(10), dict)
            await second.lease(demand(0), dict)
            [key] = (await server.command("KEYS", "*")).split()
            await server.command("COPY", key, "snapshot")
            await first.lease(demand(50), dict)
            await server.command("COPY", "snapshot", key, "REPLACE")
            after = await first.lease(demand(0), lambda: {DAY.name: [PastUsage(0.0, 60.0)]})
            assert after.is_settling
            assert (await second.lease(demand(64), dict)).permits == 40

    await undisturbed(server, scenario)
