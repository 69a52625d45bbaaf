"""Quota store of a worker: the state is in the supervisor's process, asked through the channel.

Without a reply within 50 ms the store is unavailable, whatever the reason: the supervisor is stopped or busy. The time
is counted in short waits, so that time in which this process itself did not run does not count. Messages are sent only
while the channel has room, so that their number is bounded.
"""

import asyncio
import itertools
from collections.abc import Callable

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.store import Demand, Lease, QuotaStoreUnavailable, UsageHistory
from embedwire_server.process.worker_channel import Channel
from embedwire_server.process.worker_messages import LeaseReply, LeaseRequest, Settlement, UpstreamBackOff

_WAIT_SECONDS, _WAITS = 0.005, 10
_EXPIRE_SECONDS = 0.2  # after which the supervisor ignores a request: this process rarely waits longer


class SupervisorQuotaStore:
    """The quota store of the supervisor; see `QuotaStore`.

    Args:
        channel: the channel to the supervisor; the caller passes each `LeaseReply` from it to `receive`.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count()
        self._replies: dict[int, asyncio.Future[Lease]] = {}

    async def lease(self, demand: Demand, history: Callable[[], UsageHistory]) -> Lease:  # noqa: ARG002 - of the interface
        """Take permits; `history` is never called, since the supervisor has the usage of all workers.

        Raises:
            QuotaStoreUnavailable: there is no reply within the time. If it comes later, its permits are returned.
        """
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        plain = demand._replace(limits=tuple(demand.limits), unrecorded=dict(demand.unrecorded))
        self._send(LeaseRequest(number, plain, loop.time() + _EXPIRE_SECONDS))
        reply: asyncio.Future[Lease] = loop.create_future()
        self._replies[number] = reply
        try:
            for _ in range(_WAITS):
                await asyncio.wait([reply], timeout=_WAIT_SECONDS)
                if reply.done():
                    return reply.result()
        finally:
            del self._replies[number]
        raise QuotaStoreUnavailable("the supervisor has not answered within 50 ms")

    async def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:
        """Return unused permits, and correct the minutes of media by this difference.

        Raises:
            QuotaStoreUnavailable: the supervisor does not read.
        """
        self._send(Settlement(lease, unused, minutes))

    async def back_off(self, modality: Modality, seconds: float) -> None:
        """Record that the upstream asked to wait.

        Raises:
            QuotaStoreUnavailable: the supervisor does not read.
        """
        self._send(UpstreamBackOff(modality, seconds))

    def receive(self, reply: LeaseReply) -> None:
        """Pass a reply to the request that waits for it; return the permits if none does."""
        waiting = self._replies.get(reply.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply.lease)
        elif reply.lease.permits and self._channel.has_room:
            self._channel.send(Settlement(reply.lease, reply.lease.permits, 0.0))

    def _send(self, message: object) -> None:
        if not self._channel.has_room:
            raise QuotaStoreUnavailable("the supervisor does not read")
        self._channel.send(message)
