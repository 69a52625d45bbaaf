"""HTTP/2 flow control: message writes to slow readers, and a budget for replies that are not read."""

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Any

from embedwire_server.core.errors import Overloaded, ReplyTooLarge
from embedwire_server.core.inputs import Caller
from embedwire_server.rpc.call_context import Call, Context, on_call_done
from embedwire_server.rpc.unary_reply import MAX_REPLY_BYTES


class MessageWriter:
    """Writes the messages of one call, and records since when a write is awaited; see `CallScope.writing_since`.

    Args:
        context: gRPC's context of the call.
        call: this server's context of the call.
        serialize: converts messages to bytes.
        complete: awaits an operation of gRPC.
        begin: awaits the first write; cancelling it does not cancel the write.

    Attributes:
        sent: bytes of messages.
    """

    __slots__ = ("_begin", "_call", "_complete", "_context", "_has_begun", "_loop", "_serialize", "sent")

    def __init__(
        self,
        context: Context,
        call: Call,
        serialize: Callable[[Any], bytes],
        complete: Callable[[Any], Awaitable[Any]],
        begin: Callable[[Any], Awaitable[Any]],
    ) -> None:
        self._context, self._call, self._serialize = context, call, serialize
        self._complete, self._begin, self._has_begun = complete, begin, False
        self._loop = asyncio.get_running_loop()
        self.sent = 0

    async def write(self, message: Any) -> None:  # noqa: ANN401 - a message of any type
        """Send a message; return when gRPC accepts another one."""
        self._call.writing_since = self._loop.time()
        data = self._serialize(message)
        self.sent += len(data)
        self._call.count_sent()
        try:
            if self._has_begun:
                await self._complete(self._context.write(data))
            else:
                self._has_begun = True
                await self._begin(self._write_first(data))
        finally:
            self._call.writing_since = None

    async def _write_first(self, data: bytes) -> None:
        self._call.is_beginning = True
        try:
            await self._context.write(data)
        finally:
            self._call.is_beginning = False

    def peer(self) -> str:
        """Return gRPC's name of the connection."""
        peer: str = self._context.peer()
        return peer


class UnreadReplyBudget:
    """Memory budget for unary replies that callers have not read: gRPC buffers each as a whole until they do.

    A call cannot be ended any more once its reply is buffered, so a caller that does not read its replies gets no
    further ones.

    Args:
        of_all: bytes for all callers together.
        of_one: bytes for one connection.
    """

    def __init__(self, of_all: int = 128 << 20, of_one: int = 32 << 20) -> None:
        self._of_all = of_all
        self._of_one = of_one
        self._unread: collections.Counter[Caller] = collections.Counter()
        self._sum = 0

    def admit(self, call: Call) -> None:
        """Reject a call, before any work is done for it, if its reply might exceed the budget.

        Raises:
            Overloaded: the unread replies of the caller, or of all callers, are too large.
        """
        if not self._fits(call.caller, MAX_REPLY_BYTES):
            raise Overloaded("too many replies have not been read; read them before the next call", retry_delay=1.0)

    def put(self, size: int, call: Call) -> None:
        """Charge a reply until the caller has read it or disconnected.

        Raises:
            ReplyTooLarge: the reply exceeds the budget.
        """
        caller = call.caller
        if not self._fits(caller, size):
            raise ReplyTooLarge("too many replies have not been read; use CreateEmbedding, which streams them")
        self._unread[caller] += size
        self._sum += size
        on_call_done(lambda: self._delivered(caller, size))

    def _fits(self, caller: Caller, size: int) -> bool:
        return self._unread[caller] + size <= self._of_one and self._sum + size <= self._of_all

    def _delivered(self, caller: Caller, size: int) -> None:
        self._unread[caller] -= size
        self._sum -= size
        if not self._unread[caller]:
            del self._unread[caller]
