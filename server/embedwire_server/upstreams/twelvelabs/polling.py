"""Polling of assets and tasks: exponential back-off, and failures that do not end the wait.

A poll can always be repeated. So the time until its response begins is limited: a connection that was lost without a
sign would otherwise last as long as the deadline of the call, and that of background requests forever.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from embedwire_server.core.errors import Reason, RetrySafety, UpstreamFailure
from embedwire_server.upstreams.base import EmbedCall

FIRST_SECONDS, LONGEST_SECONDS, GROWTH = 0.5, 15.0, 1.5
ANSWER_SECONDS = 60.0  # until the response to a poll begins, or until all of a small one has arrived
# The longest delay that the upstream can ask for: a poll costs little, and the result may be ready long before.
LONGEST_ASKED_SECONDS = 300.0
_SPREAD = 0.1  # jitter as a fraction of the pause
# A poll that fails for one of these reasons says nothing about the task.
_TRANSIENT = {
    Reason.UPSTREAM_RATE_LIMITED,
    Reason.UPSTREAM_UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT,
    Reason.UPSTREAM_CONFLICT,
}

T = TypeVar("T")


async def answered(sending: Awaitable[T]) -> T:
    """Await a request that can be repeated, for `ANSWER_SECONDS`.

    Raises:
        UpstreamFailure: it has no response in that time.
        GatewayError: what the request raises.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await sending
    except TimeoutError:
        text = f"no response has arrived in {ANSWER_SECONDS:.0f} s"
        raise UpstreamFailure(Reason.UPSTREAM_TIMEOUT, text, retry_safety=RetrySafety.SAFE) from None


class Poll:
    """State of one wait. The deadline of the call ends it from outside.

    Args:
        call: the call whose time of waiting is measured.
        longest: the longest pause in seconds.
    """

    def __init__(self, call: EmbedCall, longest: float = LONGEST_SECONDS) -> None:
        self._call = call
        self._longest = longest
        self._pause = FIRST_SECONDS
        self._asked = 0.0  # seconds that the upstream asks to wait

    async def attempt(self, request: Callable[[], Awaitable[T]]) -> T | None:
        """Make one request; None if it fails in a way that does not end the wait.

        Raises:
            GatewayError: it fails in another way.
        """
        self._asked = 0.0
        try:
            return await request()
        except UpstreamFailure as failure:
            if failure.reason not in _TRANSIENT:
                raise
            self._asked = min(failure.retry_delay or 0.0, LONGEST_ASKED_SECONDS)
            self._call.needs_fresh_connection = failure.upstream is None  # a stale connection is not used again
            return None

    async def pause(self) -> None:
        """Wait before the next request."""
        pause = max(self._pause, self._asked)
        self._pause = min(self._longest, self._pause * GROWTH)
        with self._call.time("waiting"):
            await asyncio.sleep(pause * (1 + random.uniform(-_SPREAD, _SPREAD)))  # noqa: S311 - not a secret
