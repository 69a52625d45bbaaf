"""The page of capacity planning has the output of the simulation, and the simulation agrees with a real Redis."""

import asyncio
import contextlib

import pytest

from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.redis_store import SETTLING_SECONDS, RedisQuotaStore
from embedwire_server.policies.redis_connection import RedisConnection
from tests.capacity import table
from tests.capacity.fleet import Replica, Scenario, measured, running, simulate
from tests.support.embed_calls import sample
from tests.support.redis import RedisServer

SATURATED = Scenario(replicas=4, per_minute=600, demand=2, warm_up=70, seconds=60)
SECONDS = 20
ATTEMPTS = 3  # a busy machine may be too slow for the time limit of Redis, which costs a replica a second


@pytest.mark.timeout(600)  # 1,000 replicas take a minute on a busy machine
@pytest.mark.parametrize("number", range(len(table.RUNS)))
def test_the_page_has_the_output(number: int) -> None:
    """Each row of the page is what the simulation prints."""
    assert table.of_page()[number + 2] == table.row(*table.RUNS[number])


def test_the_page_has_all_rows() -> None:
    """The table has no other rows."""
    assert len(table.of_page()) == len(table.RUNS) + 2


def test_it_is_deterministic() -> None:
    """Two runs have the same figures."""
    first, second = (simulate(table.SCENARIOS[0], table.COSTS) for _ in range(2))
    assert (first.redis, first.waits, first.by_replica) == (second.redis, second.waits, second.by_replica)


def test_the_plan_is_used_and_not_exceeded() -> None:
    """With twice the demand, four replicas use at least 95 % of the plan and not more than it, in equal parts."""
    outcome = simulate(SATURATED, table.COSTS)

    assert 0.95 <= outcome.used <= 1
    assert min(outcome.by_replica) >= 0.8 * max(outcome.by_replica)


async def test_four_replicas_with_a_real_redis() -> None:
    """In real time and with a real Redis, four replicas use as much of the plan as in the simulation."""
    scenario = Scenario(replicas=4, per_minute=600, demand=2, warm_up=SETTLING_SECONDS + 1, seconds=SECONDS)
    for _ in range(ATTEMPTS):
        sent, errors = await _sent(scenario)
        if not errors:
            break
    simulated = await asyncio.to_thread(simulate, scenario, table.COSTS)

    assert sent == pytest.approx(len(simulated.waits), rel=0.1)


async def _sent(scenario: Scenario) -> tuple[int, float]:
    """Return the number of inputs that were sent, and of the operations of Redis that failed."""
    metrics = Metrics("sandbox")
    async with RedisServer.running() as server, contextlib.AsyncExitStack() as stack:
        stores = [
            RedisQuotaStore(RedisConnection(server.url, "quota", metrics), "capacity") for _ in range(scenario.replicas)
        ]
        for store in stores:
            await stack.enter_async_context(store.running())
        replicas = [Replica(number, scenario, store) for number, store in enumerate(stores)]
        async with running(replicas):
            await asyncio.sleep(scenario.warm_up)
            waits, _, _ = await measured(replicas, scenario.seconds)
    return len(waits), sample(metrics, "embedwire_redis_errors_total", use="quota", reason="timeout")
