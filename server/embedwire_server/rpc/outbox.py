"""What goes out to callers, who may be slow to take it, or never do."""

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Any, Self

from embedwire_server.domain import Caller
from embedwire_server.errors import CallerStalled, Overloaded, ReplyTooLarge
from embedwire_server.rpc.calls import LONGEST_SECONDS, Call, Context, Deadline, at_the_end
from embedwire_server.rpc.unary import MAX_REPLY_BYTES


class Writer:
    """Writes the messages of one call, and ends the call when its caller takes none of them for too long.

    One timer a call, which looks at the write under way, not one a message: most calls end before it looks.

    Args:
        context: the call as gRPC has it.
        deadline: what ends the call.
        stall_timeout: the most seconds that one write may take.
        complete: how an operation of gRPC is awaited.
    """

    def __init__(
        self, context: Context, deadline: Deadline, stall_timeout: float, complete: Callable[[Any], Awaitable[Any]]
    ) -> None:
        self._complete = complete
        self._context = context
        self._deadline = deadline
        self._stall_timeout = stall_timeout
        self._loop = asyncio.get_running_loop()
        self._writing_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._look_in(self._stall_timeout)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def write(self, message: bytes) -> None:
        """Send a message; returns when gRPC has room for another."""
        self._writing_since = self._loop.time()
        await self._complete(self._context.write(message))
        self._writing_since = None

    def _look_in(self, seconds: float) -> None:
        self._timer = self._loop.call_later(min(seconds, LONGEST_SECONDS), self._look)

    def _look(self) -> None:
        waited = 0.0 if self._writing_since is None else self._loop.time() - self._writing_since
        if waited >= self._stall_timeout:
            self._deadline.end(CallerStalled(self._stall_timeout))
        else:
            self._look_in(self._stall_timeout - waited)


class Outbox:
    """Answers in one message that callers have not taken yet, in bytes: gRPC holds each, whole, until they do.

    Nothing can end such a call any more, so whoever hoards them is refused further ones.

    Args:
        of_all: bytes for all callers together.
        of_one: bytes for one connection.
    """

    def __init__(self, of_all: int = 128 << 20, of_one: int = 32 << 20) -> None:
        self._of_all = of_all
        self._of_one = of_one
        self._untaken: collections.Counter[Caller] = collections.Counter()
        self._sum = 0

    def admit(self, call: Call) -> None:
        """Refuse a call, before any work is done for it, whose answer might find no room.

        Raises:
            Overloaded: the caller, or all together, have too much to take as it is.
        """
        if not self._has_room(call.caller, MAX_REPLY_BYTES):
            raise Overloaded("too many answers wait for callers who do not take them", retry_delay=1.0)

    def put(self, size: int, call: Call) -> None:
        """Count an answer until it has been taken, or its caller has gone.

        Raises:
            ReplyTooLarge: there is no room for it any more.
        """
        caller = call.caller
        if not self._has_room(caller, size):
            raise ReplyTooLarge("too many answers have not been taken; use CreateEmbedding, which streams them")
        self._untaken[caller] += size
        self._sum += size
        at_the_end(lambda: self._taken(caller, size))

    def _has_room(self, caller: Caller, size: int) -> bool:
        return self._untaken[caller] + size <= self._of_one and self._sum + size <= self._of_all

    def _taken(self, caller: Caller, size: int) -> None:
        self._untaken[caller] -= size
        self._sum -= size
        if not self._untaken[caller]:
            del self._untaken[caller]
