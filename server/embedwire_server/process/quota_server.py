"""Supervisor's part of the shared quota: answers the messages of one worker from the store of all."""

import asyncio

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.local_store import LocalQuotaStore
from embedwire_server.policies.rate_limit.store import Lease
from embedwire_server.process.worker_channel import Channel
from embedwire_server.process.worker_messages import LeaseReply, LeaseRequest, Settlement, UpstreamBackOff


class QuotaServer:
    """Answers one worker.

    Args:
        store: the usage of all workers.
        channel: the channel to the worker.
    """

    def __init__(self, store: LocalQuotaStore, channel: Channel) -> None:
        self._store = store
        self._channel = channel
        self._latest: dict[Modality, Lease] = {}

    async def handle(self, message: object) -> None:
        """Handle a message of the worker, unless it concerns something else. Never waits."""
        if isinstance(message, LeaseRequest):
            await self._lease(message)
        elif isinstance(message, Settlement):
            await self._store.settle(*message)
        elif isinstance(message, UpstreamBackOff):
            await self._store.back_off(*message)

    async def release(self) -> None:
        """Return the permits of a worker that has ended, as far as it cannot have used them: those for a later time."""
        for lease in self._latest.values():
            if lease.available_at > asyncio.get_running_loop().time():
                await self._store.settle(lease, lease.permits)

    async def _lease(self, request: LeaseRequest) -> None:
        """Reply, unless the worker does not wait any more: this process may have been stopped meanwhile."""
        if asyncio.get_running_loop().time() >= request.expires or not self._channel.has_room:
            return
        lease = await self._store.lease(request.demand)
        if lease.permits:
            self._latest[request.demand.modality] = lease
        self._channel.send(LeaseReply(request.number, lease))
