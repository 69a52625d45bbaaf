"""Connection to a Redis server that never delays a call by more than 50 ms, and fails fast while Redis is unavailable.

redis-py is an extra; `redis_client.py` imports it, and is imported only if a Redis server is configured.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import structlog

from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.observability.metrics import Metrics

if TYPE_CHECKING:
    from redis.asyncio import Redis

OPERATION_SECONDS = 0.05  # time limit of an operation, with everything: queue, name lookup, connect, reply
_GRACE_SECONDS = 0.005  # the end of the time limit: if the event loop was blocked, it reads replies that have arrived
PROBE_SECONDS = 1.0  # time between a failure and the first probe, and between probes; the time limit of one
LOG_SECONDS = 10.0  # least time between two log lines
MAX_CONNECTIONS = 8
_CLOSE_SECONDS = 1.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class RedisUnavailable(Exception):
    """Redis does not answer in time, or rejects an operation. Has no text: a cause may quote keys or credentials."""


class RedisConnection:
    """Connections to a Redis server.

    After a failure of any kind, operations fail immediately until a probe (PING) succeeds; see `run` for an exception.

    Args:
        url: the server.
        use: what it is used for; a label of the metrics.
        metrics: count operations and failures.

    Attributes:
        is_available: whether Redis has answered lately. False until `running` has been entered.
    """

    _redis: "Redis"
    _reason_of: Callable[[Exception], str]
    _is_rejection: Callable[[Exception], bool]

    def __init__(self, url: RedisUrl, use: Literal["quota", "cache"], metrics: Metrics) -> None:
        self._url = url
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._use = use
        self._up = metrics.redis_up.labels(use)
        self._seconds = metrics.redis_seconds.labels(use)
        self._errors = metrics.redis_errors
        self._lost = asyncio.Event()
        self._lost.set()
        self._is_rejecting = False  # lost, but it answers
        self._availability_log = _AvailabilityLog(use, str(url))
        self._up.set(0)

    @property
    def is_available(self) -> bool:
        """Whether an operation may succeed."""
        return not self._lost.is_set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Connect, probe in the background, and close all connections in the end; also if Redis does not answer.

        Raises:
            RuntimeError: the package redis is missing.
        """
        self._load()
        try:
            await self._probe()
            probing = asyncio.create_task(self._probe_when_lost(), name=f"probe of Redis ({self._use})")
            try:
                yield
            finally:
                probing.cancel()
                await asyncio.wait([probing])
        finally:
            self._is_rejecting = False
            self._lost.set()
            self._availability_log.close()
            with contextlib.suppress(Exception):  # it is closed anyway
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._redis.aclose()

    def _load(self) -> None:
        try:
            from embedwire_server.policies import redis_client  # noqa: PLC0415 - an extra
        except ImportError as error:
            install = 'pip install "embedwire-server[redis]"'
            raise RuntimeError(f"{self._use}.store needs the package redis: {install}") from error
        self._reason_of, self._is_rejection = redis_client.reason_of, redis_client.is_rejection
        self._redis = redis_client.new_client(self._url, MAX_CONNECTIONS)

    async def run(self, operation: Callable[["Redis"], Awaitable[T]], *, also_after_rejection: bool = False) -> T:
        """Run an operation.

        Args:
            operation: sends commands, one at a time.
            also_after_rejection: whether to start it although Redis has just rejected another one with an error, such
                as a write because it is full.

        Raises:
            RedisUnavailable: the operation failed, took longer than 50 ms, or was not started. It may have had an
                effect in Redis.
        """
        if not (self.is_available or (also_after_rejection and self._is_rejecting)):
            raise RedisUnavailable
        began = time.perf_counter()
        result = await self._attempt(operation, OPERATION_SECONDS)
        self._seconds.observe(time.perf_counter() - began)
        return result

    async def _attempt(self, operation: Callable[["Redis"], Awaitable[T]], seconds: float) -> T:
        has_waited = self._slots.locked()
        try:
            async with _time_limit(seconds), self._slots:
                return await operation(self._redis)
        except Exception as error:  # noqa: BLE001 - also what redis-py raises for replies that are not Redis's
            # Many concurrent operations may take too long together. If Redis hangs, those that have not waited show it.
            if not (has_waited and isinstance(error, TimeoutError)):
                self._fail(error)
            raise RedisUnavailable from None

    def _fail(self, error: Exception) -> None:
        reason = self._reason_of(error)
        self._errors.labels(self._use, reason).inc()
        self._is_rejecting = self._is_rejection(error)
        self._lost.set()
        self._up.set(0)
        self._availability_log.show(reason, type(error).__name__)

    async def _probe_when_lost(self) -> None:
        while True:
            await self._lost.wait()
            await asyncio.sleep(PROBE_SECONDS)
            await self._probe()

    async def _probe(self) -> None:
        """Send PING; then open all connections, so that operations need not."""
        with contextlib.suppress(RedisUnavailable):
            await self._attempt(_ping, PROBE_SECONDS)
            pings = (self._attempt(_ping, PROBE_SECONDS) for _ in range(MAX_CONNECTIONS))
            if not any(await asyncio.gather(*pings, return_exceptions=True)):
                self._lost.clear()
                self._up.set(1)
                self._availability_log.show("", "")


@contextlib.asynccontextmanager
async def _time_limit(seconds: float) -> AsyncGenerator[None]:
    """Cancel the body after this time, but not before the event loop has read what has arrived."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        last = loop.call_later(seconds - _GRACE_SECONDS, lambda: limit.reschedule(loop.time() + _GRACE_SECONDS))
        try:
            yield
        finally:
            last.cancel()


async def _ping(redis: "Redis") -> None:
    await redis.ping()


class _AvailabilityLog:
    """Logs when Redis becomes available or unavailable, at most one line in 10 s; the last state is always logged.

    Args:
        use: what Redis is used for.
        url: text of the URL, without credentials.
    """

    def __init__(self, use: str, url: str) -> None:
        self._use = use
        self._url = url
        self._reason, self._error = "", ""
        self._logged: bool | None = None
        self._timer: asyncio.TimerHandle | None = None

    def show(self, reason: str, error: str) -> None:
        """Log this state, now or later; the reason is empty if Redis is available."""
        self._reason, self._error = reason, error
        if self._timer is None:
            self._log()

    def close(self) -> None:
        """Log no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _log(self) -> None:
        self._timer = None
        is_available = not self._reason
        if is_available is self._logged:
            return
        self._logged = is_available
        if is_available:
            log.info("Redis is available", use=self._use, url=self._url)
        else:
            log.warning(
                "Redis is unavailable: this server works without it",
                use=self._use,
                url=self._url,
                reason=self._reason,
                error=self._error,
            )
        self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self._log)
