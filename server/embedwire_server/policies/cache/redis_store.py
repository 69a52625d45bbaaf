"""Store of results in Redis, which replicas share. Redis limits its memory itself (`maxmemory`)."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator

from embedwire_server.config.settings import Settings
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache import entry_codec
from embedwire_server.policies.cache.entry import Entry
from embedwire_server.policies.redis_connection import RedisConnection, RedisUnavailable

PREFIX = "embedwire:cache:"  # then the key in hexadecimal digits
MAX_VECTOR_BYTES = 1 << 20  # more might not be read within the time limit of an operation
MAX_WRITES = 32  # concurrently; with more, results are not stored


class RedisStore:
    """Keeps results in Redis; see `ResultStore`. While Redis is unavailable, all are misses, and none is stored.

    Args:
        connection: the connection to Redis.
        max_age: seconds after which a result expires.
        metrics: count results that are discarded.
    """

    def __init__(self, connection: RedisConnection, max_age: float, metrics: Metrics) -> None:
        self._connection = connection
        self._max_age = max_age
        self._discarded = metrics.cache_discarded
        self._reads: dict[bytes, asyncio.Task[Entry | None]] = {}  # by key, those in flight
        self._writes: set[asyncio.Task[None]] = set()
        self._unwritten: dict[bytes, Entry] = {}  # by key, those of the writes in flight

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Connect, and in the end wait for operations in flight and close the connection."""
        async with self._connection.running():
            try:
                yield
            finally:
                if tasks := {*self._reads.values(), *self._writes}:  # each ends within the time limit of an operation
                    await asyncio.wait(tasks)

    def reconfigure(self, settings: Settings) -> None:
        """Apply `cache.max_age` of these settings to results that are stored from now on."""
        self._max_age = settings.cache.max_age

    async def get(self, key: bytes) -> Entry | None:
        """Return a result; see `ResultStore`. A damaged one is counted, and a miss.

        Callers that want the same one at the same time share an operation, which continues if they leave. A result that
        is being written is returned as well.
        """
        if (unwritten := self._unwritten.get(key)) is not None:
            return unwritten
        task = self._reads.get(key)
        if task is None:
            task = self._reads[key] = asyncio.create_task(self._read(key), context=contextvars.Context())
            task.add_done_callback(lambda _: self._reads.pop(key))
        return await asyncio.shield(task) or self._unwritten.get(key)

    async def _read(self, key: bytes) -> Entry | None:
        name = _name(key)
        try:
            data = await self._connection.run(lambda redis: redis.get(name), also_after_rejection=True)
        except RedisUnavailable:
            return None
        try:
            return entry_codec.decode(key, data) if isinstance(data, bytes) else None
        except entry_codec.InvalidEntryError:
            self._discarded.inc()
            return None

    def put(self, key: bytes, entry: Entry) -> None:
        """Store a result in the background, unless it is being written; see `ResultStore`."""
        has_room = len(self._writes) < MAX_WRITES and entry.vector_bytes <= MAX_VECTOR_BYTES
        if self._connection.is_available and has_room and key not in self._unwritten:
            self._unwritten[key] = entry
            task = asyncio.create_task(self._write(key, entry), context=contextvars.Context())
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _write(self, key: bytes, entry: Entry) -> None:
        name, data, age = _name(key), entry_codec.encode(key, entry), round(self._max_age * 1000)
        try:
            with contextlib.suppress(RedisUnavailable):
                await self._connection.run(lambda redis: redis.set(name, data, px=age))
        finally:
            del self._unwritten[key]


def _name(key: bytes) -> str:
    return PREFIX + key.hex()
