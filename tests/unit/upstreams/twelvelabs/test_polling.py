"""Polls of assets and tasks: back-off, failures that do not end the wait, and requests that get no response."""

import asyncio

import pytest

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.upstreams.twelvelabs.polling import (
    ANSWER_SECONDS,
    LONGEST_ASKED_SECONDS,
    LONGEST_SECONDS,
    Poll,
    answered,
)
from tests.support.embed_calls import call, limited
from tests.support.virtual_time import in_virtual_time, now


async def never() -> bool:
    return await asyncio.Event().wait()


@in_virtual_time
async def test_no_response() -> None:
    """A poll whose response does not begin fails in a way that does not end the wait."""
    poll = Poll(call("audio"))
    assert await poll.attempt(lambda: answered(never())) is None
    assert now() == pytest.approx(ANSWER_SECONDS)


@in_virtual_time
async def test_back_off() -> None:
    """Pauses grow up to a longest one, with some jitter, and are measured as waiting for the upstream."""
    waiting = call("audio")
    poll, pauses = Poll(waiting), []
    for _ in range(12):
        began = now()
        await poll.pause()
        pauses.append(now() - began)

    assert pauses[0] == pytest.approx(0.5, rel=0.1)
    assert pauses[1] == pytest.approx(0.75, rel=0.1)
    assert pauses[-1] == pytest.approx(LONGEST_SECONDS, rel=0.1)


@in_virtual_time
async def test_delay_of_the_upstream() -> None:
    """A pause is at least as long as the upstream asks, once."""
    poll = Poll(call("audio"))

    async def rejected() -> bool:
        raise limited(40)

    assert await poll.attempt(rejected) is None
    await poll.pause()
    assert now() == pytest.approx(40, rel=0.1)


@in_virtual_time
async def test_very_long_delay_of_the_upstream() -> None:
    """A delay of hours is shortened: the result may be ready long before."""
    poll = Poll(call("audio"))

    async def rejected() -> bool:
        raise limited(7200)

    assert await poll.attempt(rejected) is None
    await poll.pause()
    assert now() == pytest.approx(LONGEST_ASKED_SECONDS, rel=0.1)


async def test_other_failures() -> None:
    """A failure that the next poll would have as well ends the wait."""

    async def rejected() -> None:
        raise UpstreamFailure(Reason.UPSTREAM_CREDENTIALS, "no")

    with pytest.raises(UpstreamFailure):
        await Poll(call("audio")).attempt(rejected)
