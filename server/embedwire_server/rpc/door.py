"""Where calls come in, the outermost interceptor: a drain holds it for a moment."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

# So many looks in a row that see no arrival: longer than what has arrived needs to be taken in, also by a busy process.
QUIET_LOOKS = 5
LOOK_SECONDS = 0.01
LONGEST_HOLD_SECONDS = 0.5

Handler = Any  # grpc.RpcMethodHandler, a named tuple behind its types


class Door(grpc.aio.ServerInterceptor):
    """Where calls come in. While it is held they wait here, taken in and not begun."""

    def __init__(self) -> None:
        self._arrivals = 0
        self._held = 0
        self._is_open = asyncio.Event()
        self._is_open.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Let a call in, once the door is open."""
        self._arrivals += 1
        if not self._is_open.is_set():
            self._held += 1
            try:
                await self._is_open.wait()
            finally:
                self._held -= 1
        return await continuation(details)

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
