"""Calls leave no reference cycles, which would cost pauses of the garbage collector."""

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.messages import request, text_input
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, reply

pytestmark = pytest.mark.asyncio

# Objects of gRPC and of the server for a call and its failure. Cycles of gRPC's search for a handler are small.
CALLS = Counter({"RPCState": 99, "_ServicerContext": 99, "Call": 99, "Overloaded": 99, "AbortError": 99, "frame": 99})


@contextlib.contextmanager
def reference_cycles() -> Iterator[Counter[str]]:
    """The types of the objects in reference cycles that the block creates."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()


async def ok(visit: Visit) -> None:
    await visit.answer(reply())


async def embed(served: Served) -> None:
    with contextlib.suppress(Exception):
        async for _ in served.stub.CreateEmbedding(request(text_input())):
            pass


async def test_answered_calls(scripted: Scripted) -> None:
    """Answered calls leave no reference cycle."""
    async with scripted(ok) as (served, _):
        await embed(served)
        with reference_cycles() as found:
            await asyncio.gather(*[embed(served) for _ in range(30)])
            await until(lambda: served.metric("embedwire_requests_total", reason="OK") == 31)
            await asyncio.sleep(0.1)
    assert not found & CALLS


async def test_refused_calls(scripted: Scripted) -> None:
    """Rejected calls leave no reference cycle: they are most frequent under overload."""
    is_open = asyncio.Event()

    async def held(visit: Visit) -> None:
        await is_open.wait()
        await ok(visit)

    async with scripted(held, concurrency_inputs_per_modality=1, concurrency_queue_per_modality=0) as (served, _):
        first = asyncio.create_task(embed(served))
        await until(lambda: served.metric("embedwire_inputs_in_flight", modality="text") == 1)
        with reference_cycles() as found:
            await asyncio.gather(*[embed(served) for _ in range(30)])
            await until(lambda: served.metric("embedwire_requests_total", reason="OVERLOADED") == 30)
            await asyncio.sleep(0.1)
        is_open.set()
        await first
    assert not found & CALLS
