"""Limits on calls whose first message has not arrived: their number and their waiting time.

Such a call costs gRPC and this server about 30 KiB, and up to 100 KiB if its headers have many fields; the part of its
message that has arrived comes on top, up to the largest message. A caller needs to send only headers for it. So the
number of these calls is limited: beyond the limit, the oldest call of the connection that has most of them is aborted,
and not the newest, because the message of a normal call follows its headers immediately. Their time is limited too, but
not to less than a large message needs on a slow link.
"""

import asyncio
import contextvars

from embedwire_server.core.errors import CallStalled, Overloaded
from embedwire_server.rpc.call_context import Call

_SWEEP_SECONDS = 1.0
_RETRY_SECONDS = 1.0


class PendingCalls:
    """Aborts calls that wait too long for their first message, or are too many. One timer serves all of them.

    Args:
        most: the most calls of all connections together.
        seconds: the time for the first message.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._by_connection: dict[str, dict[Call, float]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call) -> None:
        """Add a call that begins to wait for its first message."""
        loop = asyncio.get_running_loop()
        self._by_connection.setdefault(call.caller[1], {})[call] = loop.time()
        self._count += 1
        if self._count > self._most:
            self._evict()
        if self._timer is None:
            self._start_timer()

    def discard(self, call: Call) -> None:
        """Remove a call whose first message has arrived, or that has ended. Idempotent."""
        waiting = self._by_connection.get(call.caller[1])
        if waiting is None or waiting.pop(call, None) is None:
            return
        self._count -= 1
        if not waiting:
            del self._by_connection[call.caller[1]]

    def _evict(self) -> None:
        busiest = max(self._by_connection, key=lambda connection: len(self._by_connection[connection]))
        oldest = next(iter(self._by_connection[busiest]))
        self.discard(oldest)
        text = f"more than {self._most} calls wait for their first message; send it together with the headers"
        oldest.end(Overloaded(text, retry_delay=_RETRY_SECONDS))

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        late = [
            call
            for waiting in self._by_connection.values()
            for call, since in waiting.items()
            if now - since >= self._seconds
        ]
        for call in late:
            self.discard(call)
            call.end(CallStalled("first message", self._seconds))
        self._timer = None
        if self._count:
            self._start_timer()

    def _start_timer(self) -> None:
        seconds, nothing = min(_SWEEP_SECONDS, self._seconds), contextvars.Context()  # the call's would keep it alive
        self._timer = asyncio.get_running_loop().call_later(seconds, self._sweep, context=nothing)
