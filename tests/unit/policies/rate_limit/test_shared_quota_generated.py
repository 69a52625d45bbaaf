"""Generated runs of several servers: within the limit in every window, used, and no server starved."""

import asyncio
import dataclasses
import random
from collections.abc import Sequence

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.embed_calls import call, embedded, gathered
from tests.support.quota_store import MemoryQuota, most_in_a_window
from tests.support.virtual_time import in_virtual_time, now
from tests.unit.policies.rate_limit.shared_support import Server, running, servers
from tests.unit.policies.rate_limit.support import MINUTE
from tests.unit.policies.rate_limit.test_shared_quota import per_minute

# Without shrinking: a run takes a second, and its seed does not become simpler.
EXAMPLES = settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


async def _saturate(server: Server, callers: int, chance: random.Random) -> None:
    """Keep more calls waiting than the limit allows; some leave, at any time."""

    async def one_after_the_other(caller: int) -> None:
        while True:
            if chance.random() < 0.1:
                asking = asyncio.create_task(embedded(server.limited_upstream, call(caller=("host", str(caller)))))
                asyncio.get_running_loop().call_later(chance.choice([0, 0.001, 0.3, 20]), asking.cancel)
                await gathered([asking])
            await embedded(server.limited_upstream, call(caller=("host", str(caller))))

    await asyncio.gather(*[one_after_the_other(caller) for caller in range(callers)])


async def _run(several: Sequence[Server], seconds: float, chance: random.Random) -> None:
    """Saturate all servers for some time."""
    async with running(several):
        tasks = [asyncio.create_task(_saturate(server, chance.choice([3, 40]), chance)) for server in several]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await gathered(tasks)


@EXAMPLES
@given(st.integers(1, 5), st.integers(20, 400), st.sampled_from([0.0, 0.001, 0.02, 0.049]), st.integers(0, 10**6))
def test_saturated_servers(count: int, amount: int, seconds: float, seed: int) -> None:
    """Servers with more calls than the limit use at least 95 % of it, stay within it, and each gets some of it."""

    @in_virtual_time
    async def run() -> None:
        several = servers(count, per_minute(amount))
        for server in several:
            server.store.seconds = seconds
        await _run(several, 4 * MINUTE, random.Random(seed))
        times = [time for server in several for time in server.times]
        steady = [time for time in times if time >= 2 * MINUTE]

        assert most_in_a_window(times, MINUTE) <= amount
        assert len(steady) >= 0.95 * 2 * amount - 1
        for server in several:
            assert len([time for time in server.times if time >= 2 * MINUTE]) >= 0.2 * len(steady) / count

    run()


@dataclasses.dataclass
class Outage:
    """An outage of the store, from one time to another."""

    begins: float
    ends: float
    loses_state: bool


@st.composite
def outages(draw: st.DrawFn) -> list[Outage]:
    found, at = [], 30.0
    for _ in range(draw(st.integers(1, 3))):
        begins = at + draw(st.floats(0, 60))
        at = begins + draw(st.sampled_from([0.05, 1, 10, 30]))
        found.append(Outage(begins, at, loses_state=draw(st.booleans())))
    return found


def _schedule(outage: Outage, several: Sequence[Server], quota: MemoryQuota) -> None:
    loop = asyncio.get_running_loop()
    for server in several:
        loop.call_at(outage.begins, server.cut_off)
        loop.call_at(outage.ends, server.reconnect)
    if outage.loses_state:
        loop.call_at(outage.begins, quota.lose_state)


@EXAMPLES
@given(st.integers(2, 4), st.integers(120, 400), outages(), st.integers(0, 10**6))
def test_failing_store(count: int, amount: int, failures: list[Outage], seed: int) -> None:
    """Windows without an outage in them stay within the limit, as do those that begin after one; calls continue."""

    @in_virtual_time
    async def run() -> None:
        quota = MemoryQuota()
        several = servers(count, per_minute(amount), quota=quota)
        for outage in failures:
            _schedule(outage, several, quota)
        await _run(several, 5 * MINUTE, random.Random(seed))
        times = [time for server in several for time in server.times]
        begins = [0.0, *(outage.begins for outage in failures)]
        ends = [*(outage.begins for outage in failures), 5 * MINUTE]

        for begin, end in zip(begins, ends, strict=True):
            assert most_in_a_window([time for time in times if begin <= time < end], MINUTE) <= amount
        for server in several:
            assert server.is_shared
            assert len([time for time in server.times if time >= now() - 1.5 * MINUTE]) > 0

    run()
