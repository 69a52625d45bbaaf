"""Quota store in Redis: one key for each credential and modality, changed by one script, which is atomic."""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.sliding_window import BURST_SECONDS, LEAST_MINUTES, MARGIN_SECONDS, RateLimit
from embedwire_server.policies.rate_limit.store import (
    LEASE_SECONDS,
    Demand,
    Lease,
    QuotaStoreUnavailable,
    UsageHistory,
)
from embedwire_server.policies.redis_connection import RedisConnection, RedisUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

PARTS = 128  # of a window
SETTLING_SECONDS = 5.0  # after a loss of the state; all servers report within it, since they ask each second
_LONGEST = 1e9  # JSON has no infinity
_SCRIPT = Path(__file__).with_name("lease.lua").read_text("utf-8")
_SHA = hashlib.sha1(_SCRIPT.encode()).hexdigest()  # noqa: S324 - the name that Redis has for it

_Json = dict[str, Any]


def credential_digest(base_url: str, api_key: str | None) -> str:
    """Return a digest by which replicas with the same credential share a key; the API key cannot be derived from it."""
    return hmac.new((api_key or "").encode(), f"quota of {base_url}".encode(), hashlib.sha256).hexdigest()[:32]


class _Granted(NamedTuple):
    """What the store needs to settle a lease: the state that has it, the parts that count it, and when it ends."""

    since: str
    parts: Sequence[int]
    ends: float


class RedisQuotaStore:
    """Usage of one credential in Redis; see `QuotaStore`.

    The clock is that of the Redis server. If its state is lost, a new one begins: servers report their usage to it with
    their next request, and until then it is settling.

    Args:
        connection: the connection to Redis.
        name_space: identifies the credential, see `credential_digest`.
    """

    def __init__(self, connection: RedisConnection, name_space: str) -> None:
        self._connection = connection
        self._name_space = name_space
        self._server = secrets.token_hex(8)
        self._since: dict[Modality, str] = {}  # the states to which this server has reported its usage
        self._seen: dict[Modality, int] = {}  # operations of these states, of which a state must have as many
        self._numbers = itertools.count()
        self._reports: dict[Modality, int] = {}  # numbers of the reports that have not been acknowledged

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Connect, and close the connections in the end; also if Redis does not answer.

        Raises:
            RuntimeError: the package redis is missing.
        """
        async with self._connection.running():
            yield

    async def lease(self, demand: Demand, history: Callable[[], UsageHistory]) -> Lease:
        """Take permits; see `QuotaStore.lease`."""
        loop = asyncio.get_running_loop()
        modality = demand.modality
        request = _lease_request(demand) | {
            "server": self._server,
            "report": self._reports.setdefault(modality, next(self._numbers)),
            "since": self._since.get(modality, ""),
            "seen": self._seen.get(modality, 0),
        }

        async def ask(redis: "Redis") -> tuple[float, _Json]:
            while True:
                sent = loop.time()
                within = max(-1.0, min(demand.latest - sent, _LONGEST))
                reply = await self._evaluate(redis, modality, request | {"within": within})
                if "permits" in reply:
                    return sent, reply
                request.update(since=reply["since"], seen=0, usage=_usage(history()))

        sent, reply = await self._run(ask)
        self._since[modality], self._seen[modality] = reply["since"], reply["seen"]
        self._reports.pop(modality, None)
        return _lease(demand, reply, sent, loop.time())

    async def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:
        """Return unused permits, and correct the minutes of media; see `QuotaStore.settle`."""
        granted = lease.data
        if not isinstance(granted, _Granted):
            return
        of_media = minutes - (lease.demand.minutes if unused else 0.0)
        changes = [
            {
                "name": limit.name,
                "part": part,
                "amount": of_media if limit.is_media else -unused,
                "spacing": _spacing(limit),
            }
            for limit, part in zip(lease.demand.limits, granted.parts, strict=True)
        ]
        request = {"operation": "settle", "since": granted.since, "ends": granted.ends, "changes": changes}
        await self._run(lambda redis: self._evaluate(redis, lease.demand.modality, request))

    async def back_off(self, modality: Modality, seconds: float) -> None:
        """Record that the upstream asked to wait; see `QuotaStore.back_off`."""
        request = {"operation": "back_off", "seconds": seconds}
        await self._run(lambda redis: self._evaluate(redis, modality, request))

    async def _run(self, operation: Callable[["Redis"], Any]) -> Any:  # noqa: ANN401
        try:
            return await self._connection.run(operation)
        except RedisUnavailable:
            raise QuotaStoreUnavailable from None

    async def _evaluate(self, redis: "Redis", modality: Modality, request: _Json) -> _Json:
        from redis.exceptions import NoScriptError  # noqa: PLC0415 - an extra

        key, text = f"embedwire:quota:{{{self._name_space}}}:{modality}", json.dumps(request)
        try:
            reply = await redis.evalsha(_SHA, 1, key, text)
        except NoScriptError:  # the server has been restarted
            reply = await redis.eval(_SCRIPT, 1, key, text)
        found: _Json = json.loads(reply)
        return found


def _lease_request(demand: Demand) -> _Json:
    is_report = demand.latest == -math.inf
    return {
        "operation": "lease",
        "requests": 0 if is_report else demand.requests,
        "minutes": max(demand.minutes, LEAST_MINUTES),
        "limits": [_asked(limit) for limit in demand.limits],
        "usage": _usage(demand.unrecorded),
        "burst": BURST_SECONDS,
        "lease": LEASE_SECONDS,
        "settling": SETTLING_SECONDS,
    }


def _asked(limit: RateLimit) -> _Json:
    return {
        "name": limit.name,
        "amount": limit.amount,
        "window": limit.seconds + MARGIN_SECONDS,
        "part": limit.seconds / PARTS,
        "spacing": _spacing(limit),
        "is_media": limit.is_media,
    }


def _spacing(limit: RateLimit) -> float:
    return (limit.seconds + MARGIN_SECONDS) / limit.amount if limit.is_even else 0.0


def _usage(history: UsageHistory) -> Mapping[str, Sequence[Sequence[float]]]:
    return {name: [list(past) for past in parts] for name, parts in history.items()}


def _lease(demand: Demand, reply: _Json, sent: float, arrived: float) -> Lease:
    """Convert the times of the store, so that a permit is used in no case earlier or later than the store counts it."""
    wait, permits = reply.get("wait", math.inf), reply["permits"]
    available_at = arrived + wait
    granted = _Granted(reply["since"], reply["parts"], reply["ends"]) if permits else None
    return Lease(
        demand,
        permits,
        available_at,
        sent + wait + reply["valid"] if permits else available_at,
        limit=demand.limits[reply["limit"] - 1] if "limit" in reply else None,
        back_off=reply["back_off"],
        is_settling=reply["is_settling"],
        data=granted,
    )
