"""Calls that reach their deadline are counted as such, also if the caller's own timer fires first."""

import asyncio
import contextlib

import grpc

from tests.support.messages import request, text_input
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit

CALLS = 20


async def _held(visit: Visit) -> None:
    await visit.gone()


async def test_an_upstream_that_does_not_answer(scripted: Scripted) -> None:
    """Calls, inputs and upstream requests end with DEADLINE_EXCEEDED, so that the three agree."""

    async def expired(seconds: float) -> None:
        call = served.stub.CreateEmbedding(request(text_input()), timeout=seconds)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.read()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async with scripted(_held) as (served, _):
        await asyncio.gather(*[expired(2 + number / 50) for number in range(CALLS)])
        await until(lambda: served.metric("embedwire_inputs_in_flight") == 0)
        names = [f"embedwire_{what}_total" for what in ("requests", "inputs", "upstream_requests")]
        await until(lambda: served.metric(names[0]) == CALLS)

        assert {name: served.metric(name, reason="DEADLINE_EXCEEDED") for name in names} == dict.fromkeys(names, CALLS)


async def test_a_caller_that_leaves_before_its_deadline(scripted: Scripted) -> None:
    """It is CANCELLED in all of them."""
    async with scripted(_held) as (served, upstream):
        call = served.stub.CreateEmbedding(request(text_input()), timeout=20)
        reading = asyncio.ensure_future(call.read())
        await until(lambda: len(upstream.visits) == 1)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        names = [f"embedwire_{what}_total" for what in ("requests", "inputs", "upstream_requests")]
        await until(lambda: served.metric(names[0]) == 1)

        assert {name: served.metric(name, reason="CANCELLED") for name in names} == dict.fromkeys(names, 1)
