"""Where calls come in, around all else: a drain holds it for a moment."""

import asyncio
import contextlib
from typing import Any

from embedwire_server.rpc.calls import Context
from embedwire_server.rpc.interceptors import Handler, run_of, with_run

# So many looks in a row that see no arrival: longer than what has arrived needs to be taken in, also by a busy process,
# and than most callers who share their calls among replicas stay with the others.
QUIET_LOOKS = 15
LOOK_SECONDS = 0.01
LONGEST_HOLD_SECONDS = 0.5


class Door:
    """Where calls come in. While it is held they wait here, taken in and not begun."""

    def __init__(self) -> None:
        self._arrivals = 0
        self._held = 0
        self._is_open = asyncio.Event()
        self._is_open.set()

    def wrap(self, handler: Handler) -> Handler:
        """Build the handler that stands in for this one."""
        inner = run_of(handler)

        async def run(messages: Any, context: Context) -> Any:  # noqa: ANN401 - whatever the handler takes and gives
            self._arrivals += 1
            if not self._is_open.is_set():
                self._held += 1
                try:
                    await self._is_open.wait()
                finally:
                    self._held -= 1
            return await inner(messages, context)

        return with_run(handler, run)

    async def hold(self) -> None:
        """Hold calls from now on; returns when no more arrive, because whoever calls waits for an answer."""
        self._is_open.clear()
        with contextlib.suppress(TimeoutError):  # callers who do not wait for answers never pause
            async with asyncio.timeout(LONGEST_HOLD_SECONDS):
                seen, quiet = self._arrivals, 0
                while quiet < QUIET_LOOKS:
                    await asyncio.sleep(LOOK_SECONDS)
                    quiet = quiet + 1 if seen == self._arrivals else 0
                    seen = self._arrivals

    async def open(self) -> None:
        """Let everybody in; returns when all have begun."""
        self._is_open.set()
        while self._held:  # noqa: ASYNC110 - a turn of the loop or two
            await asyncio.sleep(0)
