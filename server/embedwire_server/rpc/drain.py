"""Graceful drain: a gate that holds new calls for a moment, and the set of active calls."""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any

from embedwire_server.core.errors import GatewayError
from embedwire_server.rpc import handlers
from embedwire_server.rpc.call_context import Call
from embedwire_server.rpc.grpcio.accept_loops import handler_entered
from embedwire_server.rpc.handlers import Context, Handler

# Arrivals have stopped after this many polls in a row without one: longer than a busy process needs to accept calls
# that have arrived, and than most clients that balance over replicas stay with the other replicas.
QUIET_POLLS = 15
# For callers whose calls to other replicas take a second. Clients that do not wait for replies never pause.
LONGEST_HOLD_POLLS = 150
POLL_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 5.0  # of late polls: the machine is too busy to wait for


class Polls:
    """Counts polls that are on time: a late one means that calls and threads of gRPC may be late as well."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._end = self._now() + LONGEST_PAUSE_SECONDS
        self.on_time = 0

    @property
    def are_over(self) -> bool:
        """Whether the longest pause has passed."""
        return self._now() >= self._end

    async def wait(self) -> bool:
        """Wait for the next poll; return whether it is on time."""
        start = self._now()
        await asyncio.sleep(POLL_SECONDS)
        is_on_time = self._now() - start <= 3 * POLL_SECONDS
        self.on_time += is_on_time
        return is_on_time


async def pause(polls: int) -> None:
    """Wait for a number of polls that are on time, so that a busy machine gets more time."""
    waited = Polls()
    while waited.on_time < polls and not waited.are_over:
        await waited.wait()


class DrainGate:
    """Gate for new calls. While it is closed, calls are accepted, but their handlers wait."""

    def __init__(self) -> None:
        self._sequence = 0
        self._held = 0
        self._is_open = asyncio.Event()
        self._is_open.set()

    def wrap(self, handler: Handler) -> Handler:
        """Wrap a handler so that it waits while the gate is closed."""
        inner = handlers.run_of(handler)

        async def run(messages: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the handler takes and gives
            handler_entered.set(True)
            self._sequence += 1
            if not self._is_open.is_set():
                await self._wait()
            return await inner(messages, context)

        return handlers.changed(handler, run=run)

    async def enter(self) -> None:
        """Count a call that no handler runs, and wait while the gate is closed."""
        self._sequence += 1
        await self._wait()

    def close(self) -> None:
        """Hold new calls from now on."""
        self._is_open.clear()

    async def hold(self) -> None:
        """Hold new calls from now on; return when no more arrive, because the clients wait for replies."""
        self.close()
        polls, seen, quiet = Polls(), self._sequence, 0
        while quiet < QUIET_POLLS and polls.on_time < LONGEST_HOLD_POLLS and not polls.are_over:
            is_on_time = await polls.wait()
            quiet = quiet + 1 if is_on_time and seen == self._sequence else 0
            seen = self._sequence

    async def open(self) -> None:
        """Release the held calls; return when all have begun."""
        self._is_open.set()
        while self._held:  # noqa: ASYNC110 - one or two iterations of the event loop
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        self._held += 1
        try:
            await self._is_open.wait()
        finally:
            self._held -= 1


class ActiveCalls:
    """The set of active calls, so that a drain can wait for them and end them."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, call: Call) -> None:
        """Add a call that has begun."""
        self._calls.add(call)
        self._idle.clear()

    def discard(self, call: Call) -> None:
        """Remove a call whose status has been sent."""
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()

    def end(self, failure: GatewayError, *, services: Collection[str] | None = None) -> None:
        """End all active calls with this failure, or only those of some services."""
        for call in self._calls:
            if services is None or call.service in services:
                call.end(failure)

    async def ended(self, seconds: float) -> bool:
        """Wait up to `seconds` until no call is active; return whether none is."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        return self._idle.is_set()
