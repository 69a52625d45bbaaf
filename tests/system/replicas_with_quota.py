"""Replicas that share a quota through Redis, each with callers, and a counting upstream."""

import asyncio
import contextlib
import dataclasses
import itertools
import math
from collections.abc import AsyncGenerator
from typing import Any

from tests.support.redis import RedisServer
from tests.system.callers import Callers, Outcome
from tests.system.counting_upstream import CountingUpstream
from tests.system.experiment import Experiment
from tests.system.journal import Line

REPLICAS = 4
WINDOW = 60.0
LONG_DEADLINE = 600.0  # longer than the experiment: a call waits for its permit


@dataclasses.dataclass
class Stage:
    """Redis, the upstream, and the callers of each replica. The names of calls begin with the number of the replica."""

    redis: RedisServer
    upstream: CountingUpstream
    replicas: list[Callers]

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, experiment: Experiment, quota: int, **settings: Any) -> AsyncGenerator["Stage"]:
        """Start all of them.

        Args:
            experiment: the experiment.
            quota: texts a minute of all replicas together.
            settings: further settings of the servers.
        """
        async with contextlib.AsyncExitStack() as stack:
            redis = await stack.enter_async_context(RedisServer.running())
            upstream = await stack.enter_async_context(CountingUpstream.running())
            shared = {"quota_store": redis.text, "quota_replicas": REPLICAS}
            limit = {"rate_limits_text_requests_per_minute": quota}
            servers = [
                await stack.enter_async_context(experiment.server(upstream.base_url, **shared, **limit, **settings))
                for _ in range(REPLICAS)
            ]
            replicas = [await stack.enter_async_context(Callers.connected(server.target)) for server in servers]
            yield cls(redis, upstream, replicas)

    @contextlib.asynccontextmanager
    async def saturated(self, numbers: list[int], callers: int) -> AsyncGenerator[None]:
        """Let callers of these replicas repeat their calls, each of which waits for its permit, until the end."""
        tasks = [asyncio.create_task(self._repeat(number)) for number in numbers for _ in range(callers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, number: int) -> None:
        for call in itertools.count():
            await self.replicas[number].embed(f"{number} {id(asyncio.current_task())} {call}", LONG_DEADLINE)

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes of all calls that were not abandoned at the end."""
        return [outcome for callers in self.replicas for outcome in callers.outcomes if not outcome.left]

    def lost(self, shortest_deadline: float = math.inf) -> list[str]:
        """Why calls ended that have neither their result nor RATE_LIMITED; one text for each of them.

        A call that gets its permit shortly before its deadline may reach the deadline: it is not lost.
        """
        return [
            f"{one.code} {one.reason} {one.message}".strip()
            for one in self.outcomes
            if not (one.is_answered_once and not one.message) and one.reason != "RATE_LIMITED"
            if not (one.reason == "DEADLINE_EXCEEDED" and one.seconds >= shortest_deadline)
        ]


def replica_of(line: Line) -> int:
    """Return the number of the replica that sent a request."""
    return int(line.input.partition(" ")[0])
