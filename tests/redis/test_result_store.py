"""The cache in a real Redis: shared by servers, checked on read, and never a reason for a failure or a delay."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache.entry import Entry
from embedwire_server.policies.cache.redis_store import MAX_VECTOR_BYTES, PREFIX, RedisStore
from embedwire_server.policies.redis_connection import RedisConnection
from tests.support.embed_calls import sample
from tests.support.messages import request, results, segments, text_input
from tests.support.redis import RedisServer
from tests.support.serving import Scripted, Serve, Served, until
from tests.support.upstreams import answer
from tests.unit.policies.cache.support import entry

HIT, MISS = pb.CACHE_STATUS_HIT, pb.CACHE_STATUS_MISS
KEY, OTHER = hashlib.sha256(b"1").digest(), hashlib.sha256(b"2").digest()


class Store:
    """A store, whose background writes a test can wait for."""

    def __init__(self, store: RedisStore, connection: RedisConnection, metrics: Metrics) -> None:
        self.store, self.connection, self.metrics = store, connection, metrics

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, server: RedisServer, max_age: float = 60.0) -> AsyncGenerator["Store"]:
        metrics = Metrics("fake")
        connection = RedisConnection(server.url, "cache", metrics)
        store = RedisStore(connection, max_age, metrics)
        async with store.running():
            yield cls(store, connection, metrics)

    async def put(self, key: bytes, made: Entry, server: RedisServer) -> None:
        """Store an entry; again if the machine was too slow for the time limit."""
        async with asyncio.timeout(60):
            while await server.command("EXISTS", name(key)) == "0":
                self.store.put(key, made)
                await asyncio.sleep(0.02)

    async def get(self, key: bytes) -> Entry | None:
        """Read an entry from a Redis that works."""
        async with asyncio.timeout(60):
            while True:
                found = await self.store.get(key)
                if self.connection.is_available:
                    return found
                await asyncio.sleep(0.02)


def name(key: bytes) -> str:
    return PREFIX + key.hex()


async def test_entries(server: RedisServer) -> None:
    """An entry is read as it was stored, by another store as well, and expires in Redis."""
    async with Store.running(server) as first, Store.running(server) as second:
        assert await first.get(KEY) is None
        await first.put(KEY, entry(0.25, segments=3), server)
        assert await second.get(KEY) == entry(0.25, segments=3)
        assert await second.get(OTHER) is None
        assert 0 < int(await server.command("PTTL", name(KEY))) <= 60_000


async def test_readers_share_an_operation(server: RedisServer) -> None:
    """Callers that want the same entry at the same time cause one operation, and get it if others leave."""
    async with Store.running(server) as store:
        await store.put(KEY, entry(), server)
        async with asyncio.timeout(60):
            while True:  # the machine may be too slow for the time limit
                before = reads(store)
                tasks = [asyncio.create_task(store.get(KEY)) for _ in range(100)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                found = await asyncio.gather(*tasks[1:])
                if found[0] is not None:
                    break
        assert found == [entry()] * 99
        assert reads(store) - before == 1


@pytest.mark.parametrize("command", [["CONFIG", "SET", "maxmemory", "1"], ["REPLICAOF", "127.0.0.1", "1"]])
async def test_reads_after_a_rejection(server: RedisServer, command: list[str]) -> None:
    """While Redis rejects writes, since it is full or a replica, stored entries are read."""
    async with Store.running(server) as store:
        await store.put(KEY, entry(), server)
        await server.command(*command)
        async with asyncio.timeout(60):
            while not await is_read_after_rejection(store):
                store.store.put(OTHER, entry(2.0))
                await asyncio.sleep(0.02)


async def is_read_after_rejection(store: Store) -> bool:
    """Whether the entry is read, and Redis counts as unavailable before and after that."""
    if store.connection.is_available:
        return False
    return await store.store.get(KEY) == entry() and not store.connection.is_available


async def test_a_key_of_another_type(server: RedisServer) -> None:
    """A key that is no entry does not keep others from being read."""
    async with Store.running(server) as store:
        await store.put(KEY, entry(), server)
        await server.command("LPUSH", name(OTHER), "x")
        async with asyncio.timeout(60):
            while not await is_read_after_rejection(store):
                assert await store.store.get(OTHER) is None


def reads(store: Store) -> float:
    return sample(store.metrics, "embedwire_redis_operation_seconds_count", use="cache")


def flipped(data: bytes) -> bytes:
    return data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]


@pytest.mark.parametrize(
    "change",
    [flipped, lambda data: data[:-1], lambda _: b"", lambda data: b"\x02" + data[1:]],
    ids=["flipped", "truncated", "empty", "version"],
)
async def test_damaged_entries(server: RedisServer, change: Callable[[bytes], bytes]) -> None:
    """A damaged entry is a miss and is counted; a new result replaces it."""
    async with Store.running(server) as store:
        await store.put(KEY, entry(), server)
        await changed(store, KEY, change)
        assert await store.get(KEY) is None
        assert sample(store.metrics, "embedwire_cache_discarded_entries_total") >= 1
        await server.command("DEL", name(KEY))
        await store.put(KEY, entry(2.0), server)
        assert await store.get(KEY) == entry(2.0)


async def changed(store: Store, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change the value of a key."""
    async with asyncio.timeout(60):
        while not store.connection.is_available:
            await asyncio.sleep(0.02)
    redis = store.connection._redis
    data = await redis.get(name(key))
    assert isinstance(data, bytes)
    await redis.set(name(key), change(data))


async def test_swapped_entries(server: RedisServer) -> None:
    """The entry of another key is a miss, also if it is undamaged."""
    async with Store.running(server) as store:
        await store.put(KEY, entry(1.0), server)
        await store.put(OTHER, entry(2.0), server)
        await server.command("RENAME", name(OTHER), name(KEY))
        assert await store.get(KEY) is None


async def test_large_entries(server: RedisServer) -> None:
    """An entry that could not be read within the time limit is not stored."""
    async with Store.running(server) as store:
        store.store.put(KEY, entry(segments=MAX_VECTOR_BYTES // 2048 + 1))
    assert await server.command("DBSIZE") == "0"


async def test_writes_are_finished_at_the_end(server: RedisServer) -> None:
    """What was put before the end of the store is written before its connections are closed."""
    async with asyncio.timeout(60):
        while await server.command("DBSIZE") != "20":  # the machine may be too slow for the time limit
            async with Store.running(server) as store:
                for number in range(20):
                    store.store.put(hashlib.sha256(bytes([number])).digest(), entry())


async def embed(served: Served, text: str) -> tuple["pb.CacheStatus.ValueType", pb.Vector]:
    responses = [each async for each in served.stub.CreateEmbedding(request(text_input(text)), timeout=20)]
    return results(responses)[0].cache_status, segments(responses)[0].vector


async def test_replicas_share_results(server: RedisServer, scripted: Scripted, serve: Serve) -> None:
    """What one server has computed is a hit of another, with the same vector."""
    async with (
        scripted(answer, cache_store=server.text) as (first, upstream),
        serve(upstream=upstream.base_url, cache_store=server.text) as second,
    ):
        _, vector = await embed(first, "a")
        async with asyncio.timeout(60):
            while (found := await embed(second, "a"))[0] != HIT:
                await asyncio.sleep(0.02)
        assert found[1] == vector


@pytest.mark.parametrize("fault", ["killed", "paused", "full"])
async def test_faults_are_misses(server: RedisServer, scripted: Scripted, fault: str) -> None:
    """While Redis is gone, hangs or is full, each call succeeds by an upstream request."""
    async with scripted(answer, cache_store=server.text) as (served, upstream):
        assert (await embed(served, "a"))[0] == MISS
        if fault == "killed":
            await server.kill()
        elif fault == "paused":
            server.pause()
        else:
            await server.command("CONFIG", "SET", "maxmemory", "1")
        for number in range(20):
            assert (await embed(served, f"b{number}"))[0] == MISS
        assert len(upstream.visits) == 21
        if fault == "paused":
            server.resume()
        elif fault == "killed":
            await server.restart()
        else:
            await server.command("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: served.metric("embedwire_redis_up", use="cache") == 1)
        async with asyncio.timeout(60):
            while (await embed(served, "c"))[0] != HIT:
                await asyncio.sleep(0.02)
