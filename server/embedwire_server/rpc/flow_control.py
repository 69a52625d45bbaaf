"""Flow control: writes to callers that read slowly, or never."""

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Any

from embedwire_server.core.errors import Overloaded, ReplyTooLarge
from embedwire_server.core.inputs import Caller
from embedwire_server.rpc.call_context import Call, Context, on_call_done
from embedwire_server.rpc.unary_reply import MAX_REPLY_BYTES


class MessageWriter:
    """Writes the messages of one call; see `Call.writing_since`.

    Args:
        context: the call as gRPC has it.
        call: the same as this server has it.
        serialize: how messages become bytes.
        complete: how an operation of gRPC is awaited.
        begin: the same for the first write. If that is cancelled, the write goes on.
    """

    __slots__ = ("_begin", "_call", "_complete", "_context", "_has_begun", "_loop", "_serialize")

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

    async def write(self, message: Any) -> None:  # noqa: ANN401 - a message of any type
        """Send a message; returns when gRPC has room for another."""
        self._call.writing_since = self._loop.time()
        data = self._serialize(message)
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
        """The name that gRPC gives the connection."""
        peer: str = self._context.peer()
        return peer


class UnreadReplyBudget:
    """Answers in one message that callers have not taken yet, in bytes: gRPC holds each, whole, until they do.

    Nothing can end such a call any more, so a caller that does not read its replies gets no further ones.

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
            raise Overloaded("too many replies have not been read; read them before the next call", retry_delay=1.0)

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
        on_call_done(lambda: self._taken(caller, size))

    def _has_room(self, caller: Caller, size: int) -> bool:
        return self._untaken[caller] + size <= self._of_one and self._sum + size <= self._of_all

    def _taken(self, caller: Caller, size: int) -> None:
        self._untaken[caller] -= size
        self._sum -= size
        if not self._untaken[caller]:
            del self._untaken[caller]
