"""Rejected calls are retried once, and no others."""

import asyncio
import time
from typing import Any

import pytest

from embedwire import Image, RefusedError, Text, TransportError
from tests.conformance.fake import Fake, serving
from tests.e2e.client.callers import PICTURE, Connect, taken
from tests.support.process import ServerProcess
from tests.support.upstreams import Visit


def refusal(milliseconds: str, status: str = "RESOURCE_EXHAUSTED") -> dict[str, Any]:
    """A rejection with a retry delay."""
    return {"status": status, "reason": "OVERLOADED", "trailers": {"grpc-retry-pushback-ms": milliseconds}}


RESULT = {"result": {"model_name": "m", "segment_count": 0, "attempts": 1, "upstream": "custom"}}
ANSWER = {"messages": [RESULT]}
UNARY_ANSWER = {"messages": [{"embeddings": [RESULT]}]}
MODELS = {"messages": [{"models": [{"name": "m"}]}]}


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
async def test_every_kind_of_call_is_retried_once(connect: Connect, status: str) -> None:
    """A rejected call is retried after the server's delay, and then answered."""
    for asked, answer in ((PICTURE, ANSWER), (Text("a"), UNARY_ANSWER), (None, MODELS)):
        fake = Fake([refusal("200", status), answer])
        async with serving(fake) as target, connect(target, timeout=20) as client:
            began = time.monotonic()
            await (client.models() if asked is None else client.embed("m", asked))
            assert time.monotonic() - began >= 0.2
        assert len(fake.calls) == 2


async def test_a_second_refusal_is_raised(connect: Connect) -> None:
    """A second rejection is raised, and there is no third call."""
    fake = Fake([refusal("1")])
    async with serving(fake) as target, connect(target, timeout=20) as client:
        with pytest.raises(RefusedError):
            await client.embed("m", Text("a"))
    assert len(fake.calls) == 2


async def test_retries_can_be_switched_off(connect: Connect) -> None:
    """With retry_on_pushback=False each rejection is raised without a retry."""
    fake = Fake([refusal("1")])
    async with serving(fake) as target, connect(target, timeout=20, retry_on_pushback=False) as client:
        with pytest.raises(RefusedError):
            await client.embed("m", PICTURE)
        with pytest.raises(RefusedError):
            await client.embed("m", Text("a"))
    assert len(fake.calls) == 2


@pytest.mark.parametrize("asked", ["-1", "", "soon", "50000", "99999999999", "9" * 400, "1e3", "0x1"])
async def test_calls_that_are_not_retried(connect: Connect, asked: str) -> None:
    """A failure without a retry delay, or with one beyond the deadline, is raised immediately."""
    fake = Fake([refusal(asked)])
    async with serving(fake) as target, connect(target, timeout=20) as client:
        with pytest.raises(RefusedError):
            await client.embed("m", Text("a"))
    assert len(fake.calls) == 1


async def test_an_upload_is_not_retried(connect: Connect) -> None:
    """Data that was read from its source cannot be sent again."""
    fake = Fake([refusal("1")])
    async with serving(fake) as target, connect(target, timeout=20) as client:
        with pytest.raises(RefusedError):
            await client.embed("m", Image(chunks=[b"a", b"b"]))
    assert len(fake.calls) == 1


async def test_a_broken_connection_is_not_retried(connect: Connect) -> None:
    """A call whose server dies may have reached the upstream: it is not retried, and does not hang."""
    asked = asyncio.Event()

    async def hang(visit: Visit) -> None:
        asked.set()
        await visit.gone()

    async with ServerProcess.running(hang) as server, connect(server.target, timeout=30) as client:
        call = asyncio.create_task(client.embed("marengo3.0", Text("a")))
        await asked.wait()
        server.kill()
        with pytest.raises(TransportError):
            await asyncio.wait_for(call, 10)


async def test_closing_ends_the_wait(connect: Connect) -> None:
    """Closing a stream that waits for its retry ends it, and no call is made."""
    fake = Fake([refusal("1500")])
    async with serving(fake) as target, connect(target, timeout=20) as client:
        events = await client.stream("m", Text("a"))
        waiting = asyncio.create_task(taken(events))
        while not fake.calls:
            await asyncio.sleep(0.01)
        await events.close()
        assert await asyncio.wait_for(waiting, 10) == []
    assert len(fake.calls) == 1
