"""Connection pool of the upstream over real sockets: reused and closed connections, and their memory."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncGenerator

import httpx
import pytest

from embedwire_server.upstreams.http.connection import Connection
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.exchange import Exchange
from embedwire_server.upstreams.http.pool import ConnectionPool
from embedwire_server.upstreams.http.response_parser import ResponseParser
from tests.support.serving import until
from tests.support.upstreams import ScriptedHttpServer, Visit, answer


@contextlib.asynccontextmanager
async def pool(base_url: str, **limits: float) -> AsyncGenerator[ConnectionPool]:
    opened = ConnectionPool(Dialer(httpx.URL(base_url)), **limits)
    try:
        yield opened
    finally:
        await opened.aclose()


async def exchanged(pool: ConnectionPool, *, needs_fresh: bool = False, needs_new: bool = False) -> Connection:
    """The connection that carried a complete exchange."""
    exchange = Exchange(needs_fresh=needs_fresh, needs_new=needs_new)
    connection = await pool.connection(exchange)
    response = connection.begin(exchange, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    exchange.is_sent = True
    await response.head()
    async for _ in response:
        pass
    return connection


async def test_idle_connections_are_closed() -> None:
    """After the idle timeout no connection is left, and none is closed before."""
    async with ScriptedHttpServer(answer).running() as upstream, pool(upstream.base_url, max_idle=0.2) as connections:
        first = await exchanged(connections)
        assert await exchanged(connections) is first
        await until(lambda: not connections.open_connections)
        assert await exchanged(connections) is not first


async def test_old_connections_are_not_reused() -> None:
    """Above the maximum age, each connection is closed after its exchange."""
    async with ScriptedHttpServer(answer).running() as upstream, pool(upstream.base_url, max_age=0.0) as connections:
        assert await exchanged(connections) is not await exchanged(connections)
    async with ScriptedHttpServer(answer).running() as upstream, pool(upstream.base_url, max_age=1e9) as connections:
        assert await exchanged(connections) is await exchanged(connections)


async def test_a_fresh_connection_closes_the_idle_ones() -> None:
    """After one stale connection, the idle ones are closed unused."""
    async with ScriptedHttpServer(answer).running() as upstream, pool(upstream.base_url) as connections:
        kept = await asyncio.gather(*[exchanged(connections) for _ in range(3)])
        assert await exchanged(connections, needs_fresh=True) not in kept
        await until(lambda: connections.open_connections == 1)


def parsers() -> list[ResponseParser]:
    return [found for found in gc.get_objects() if type(found) is ResponseParser]


async def test_a_new_connection_leaves_the_idle_ones() -> None:
    """A request that may not be repeated gets a new connection; the idle ones stay open for other requests."""
    async with ScriptedHttpServer(answer).running() as upstream, pool(upstream.base_url) as connections:
        first = await exchanged(connections)
        assert await exchanged(connections, needs_new=True) is not first
        assert first.is_usable


async def test_a_response_is_freed_without_the_garbage_collector() -> None:
    """No reference cycle is left of a complete or aborted exchange."""
    async with ScriptedHttpServer(answer).running() as upstream, pool(upstream.base_url) as connections:
        for is_read in (True, False):
            others = parsers()  # of other tests of this process
            exchange = Exchange()
            connection = await connections.connection(exchange)
            response = connection.begin(exchange, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            exchange.is_sent = True
            if is_read:
                await response.head()
                async for _ in response:
                    pass
            else:
                response.abort()
            [parser] = [weakref.ref(found) for found in parsers() if all(found is not other for other in others)]
            gc.disable()
            try:
                del response
                assert parser() is None
            finally:
                gc.enable()


async def test_a_closed_pool_leaves_no_connection() -> None:
    """Connections with a running exchange are closed as well; the exchange fails."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    async with ScriptedHttpServer(script).running() as upstream, pool(upstream.base_url) as connections:
        running = asyncio.ensure_future(exchanged(connections))
        await until(lambda: bool(upstream.visits))
        await connections.aclose()
        assert not connections.open_connections
        with pytest.raises(httpx.ReadError):
            await asyncio.wait_for(running, 20)
