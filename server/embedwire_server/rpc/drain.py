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
QUIET_LOOKS = 15
LOOK_SECONDS = 0.01
LONGEST_HOLD_SECONDS = 0.5


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
        """Hold new calls from now on; return when no more arrive, because the callers wait for replies."""
        self.close()
        with contextlib.suppress(TimeoutError):  # callers that do not wait for replies never pause
            async with asyncio.timeout(LONGEST_HOLD_SECONDS):
                now, seen, quiet = asyncio.get_running_loop().time, self._sequence, 0
                while quiet < QUIET_LOOKS:
                    start = now()
                    await asyncio.sleep(LOOK_SECONDS)
                    is_starved = now() - start > 3 * LOOK_SECONDS  # without CPU time, calls are accepted late
                    quiet = quiet + 1 if seen == self._sequence and not is_starved else 0
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
