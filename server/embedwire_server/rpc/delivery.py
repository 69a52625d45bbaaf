"""Delivery of replies before gRPC closes their connection.

After GOAWAY, gRPC closes a connection as soon as its last call has ended and the kernel has taken all of its data. A
client that still reads answers with WINDOW_UPDATE or PING, the kernel of the server rejects that with a TCP reset, and
what it has not sent yet is lost: the client gets UNAVAILABLE instead of a reply that the server has counted as sent.

So a call on such a connection ends only once the client's host has acknowledged its reply.
"""

import asyncio
import functools
import math

import structlog

from embedwire_server.rpc.send_queue import SendQueue, SendQueues

POLL_SECONDS = 0.01
# gRPC may still write when a call has handed over its reply: a queue that was empty twice has not just been emptied.
EMPTY_POLLS = 2
# The part of the grace period after which a call ends in any case.
PATIENCE = 0.9
LONGEST_SECONDS = 60.0  # outside a drain
REPORT_SECONDS = 5.0  # after which a call that waits is logged, once
# gRPC sends GOAWAY at 0.9 to 1.1 of the maximum age, counted from the handshake, which is before the first call.
YOUNGEST = 0.85
# Replies that are smaller are not delayed outside a drain.
LEAST_BYTES = 16 << 10
KNOWN_CONNECTIONS = 4_096

log = structlog.get_logger(__name__)


class Delivery:
    """Delays the end of calls whose connection gRPC may close after them.

    These are all calls in a drain, and those with a large reply on an old connection. Its age is counted from its
    first call.

    Args:
        max_connection_age: seconds after which gRPC sends GOAWAY, up to 10 % less or more.
    """

    def __init__(self, max_connection_age: float) -> None:
        self._old = YOUNGEST * max_connection_age
        self._queues = SendQueues()
        self._first_used = functools.lru_cache(KNOWN_CONNECTIONS)(_now)
        self._drain_end: float | None = None

    def begin(self, peer: str) -> None:
        """Note the first call of a connection."""
        self._first_used(peer)

    def drain(self, grace: float) -> None:
        """Delay all calls from now on, for most of the grace period in seconds."""
        self._drain_end = _now() + PATIENCE * grace

    def is_needed(self, peer: str, size: int) -> bool:
        """Whether a call with a reply of `size` bytes is to be delayed."""
        return self._drain_end is not None or (size >= LEAST_BYTES and _now() - self._first_used(peer) >= self._old)

    async def wait(self, peer: str) -> None:
        """Wait until the client's host has acknowledged what was sent on the connection."""
        began = _now()
        async with self._queues.of(peer) as queue:
            if queue is not None:
                await self._emptied(queue, began)

    async def _emptied(self, queue: SendQueue, began: float) -> None:
        empty, report_at = 0, began + REPORT_SECONDS
        while empty < EMPTY_POLLS and (now := _now()) < (self._drain_end or began + LONGEST_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            empty = empty + 1 if queue.is_empty() else 0
            if now >= report_at:
                report_at = math.inf
                state, unacknowledged, window = queue.facts()
                log.info("a client takes its reply slowly", tcp_state=state, unsent=unacknowledged, window=window)


def _now(_: str = "") -> float:
    return asyncio.get_running_loop().time()
