"""A quota store in a real Redis server with simulated time: that of the event loop."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from embedwire_server.policies.rate_limit.redis_store import RedisQuotaStore
from embedwire_server.policies.redis_connection import RedisConnection
from tests.support.virtual_time import VirtualLoop, now

T = TypeVar("T")
EPOCH = 1_800_000_000.0  # a time of Redis


class SimulatedRedis:
    """Stands for a `RedisConnection`: the script gets the time of the event loop, which `advance` changes.

    Attributes:
        redis: client of the server.
        skew: seconds by which the clock of the server is ahead.
        latency: returns seconds that pass before and after the script.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.skew = 0.0
        self.latency: Callable[[], float] = lambda: 0.0

    def store(self, name_space: str = "n") -> RedisQuotaStore:
        """The store of a new server."""
        return RedisQuotaStore(cast(RedisConnection, self), name_space)

    async def run(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        return await operation(self)

    async def evalsha(self, sha: str, keys: int, *words: str) -> bytes:
        return await self._timed(self.redis.evalsha, sha, keys, *words)

    async def eval(self, script: str, keys: int, *words: str) -> bytes:
        return await self._timed(self.redis.eval, script, keys, *words)

    async def _timed(self, command: Callable[..., Awaitable[Any]], *words: Any) -> bytes:
        advance(self.latency())
        reply: bytes = await command(*words, str(EPOCH + now() + self.skew))
        advance(self.latency())
        return reply


def advance(seconds: float) -> None:
    cast(VirtualLoop, asyncio.get_running_loop()).pass_time(seconds)


def with_simulated_redis(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test with a `SimulatedRedis` as its first argument. The server is real; time passes by `advance` only."""

    @functools.wraps(test)
    def run(redis_port: int, **arguments: Any) -> None:
        async def body() -> None:
            # Without time limits: a timer would be due immediately.
            limits: Any = {"socket_timeout": None, "socket_connect_timeout": None}
            async with Redis(host="127.0.0.1", port=redis_port, **limits) as redis:
                await redis.flushall()
                await test(SimulatedRedis(redis), **arguments)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(body())

    port = inspect.Parameter("redis_port", inspect.Parameter.POSITIONAL_OR_KEYWORD)  # the fixture
    arguments = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature([port, *arguments])  # type: ignore[attr-defined]
    return run
