"""Load shedding, and concurrency slots that cancelled calls release."""

import asyncio
import time

from tests.e2e.policies.support import EXHAUSTED, answered, check_journal, ok, quota_of, refused
from tests.support.messages import failed, url_input
from tests.support.serving import Scripted
from tests.support.upstreams import Visit


async def test_overload(scripted: Scripted) -> None:
    """Calls beyond slots and queue are rejected immediately with a retry delay; other modalities are not affected."""
    is_open = asyncio.Event()

    async def held(visit: Visit) -> None:
        await is_open.wait()
        await ok(visit)

    async with scripted(held, concurrency_inputs_per_modality=2, concurrency_queue_per_modality=2) as (
        served,
        upstream,
    ):
        tasks = [asyncio.create_task(answered(served)) for _ in range(4)]
        while served.metric("embedwire_concurrency_queue_length", modality="text") < 2:
            await asyncio.sleep(0.02)
        began = time.monotonic()
        error = await refused(served)
        took = time.monotonic() - began
        upstream.script = ok
        await answered(served, url_input("image", "http://media.test/a"))
        assert served.metric("embedwire_requests_shed_total", resource="text") == 1
        is_open.set()
        await asyncio.gather(*tasks)
        await answered(served)
        check_journal(served, upstream)
    failure = failed(error)

    assert (failure.code, failure.info.reason) == (EXHAUSTED, "OVERLOADED")
    assert int(failure.trailers["grpc-retry-pushback-ms"]) > 0
    assert 0 < quota_of(error)[1] < 60
    assert took < 20  # while all slots were taken


async def test_slots_after_cancellations(scripted: Scripted) -> None:
    """A call that is cancelled in any of its waits releases its slot."""

    async def slow(visit: Visit) -> None:
        await visit.gone()

    async with scripted(slow, concurrency_inputs_per_modality=2, concurrency_queue_per_modality=2) as (
        served,
        upstream,
    ):
        for _ in range(10):
            tasks = [asyncio.create_task(answered(served)) for _ in range(4)]
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        upstream.script = ok
        while served.metric("embedwire_inputs_in_flight", modality="text") > 0:
            await asyncio.sleep(0.02)
        assert len(await asyncio.gather(*[answered(served) for _ in range(4)])) == 4
