"""Quota store of a worker over the channel to the supervisor."""

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.local_store import LocalQuotaStore
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import Demand, Lease, PastUsage, QuotaStoreUnavailable
from embedwire_server.process.quota_server import QuotaServer
from embedwire_server.process.worker_channel import Channel
from embedwire_server.process.worker_messages import LeaseReply, LeaseRequest
from embedwire_server.process.worker_quota import SupervisorQuotaStore

PER_DAY = RateLimit("text requests per day", 10, 86400.0)
NO_HISTORY = dict[str, list[PastUsage]]


def now() -> float:
    return asyncio.get_running_loop().time()


def demand(requests: int, latest: float = math.inf) -> Demand:
    return Demand(Modality.TEXT, [PER_DAY], requests, 0.0, latest, {})


async def left(store: LocalQuotaStore) -> int:
    """The number of permits that can be used now; they stay in the store."""
    lease = await store.lease(demand(16, latest=now() + 1))
    await store.settle(lease, lease.permits)
    return lease.permits


class Worker:
    """A worker, and what the supervisor has for it."""

    def __init__(self, ours: Channel, theirs: Channel, store: LocalQuotaStore) -> None:
        self.channel = theirs
        self.store = SupervisorQuotaStore(theirs)
        self.server = QuotaServer(store, ours)
        self._ours = ours

    async def receive(self) -> None:
        """Handle the messages of the supervisor."""
        with contextlib.suppress(EOFError):
            while True:
                message = await self.channel.receive()
                assert isinstance(message, LeaseReply)
                self.store.receive(message)

    async def serve(self) -> None:
        """Handle the messages of the worker."""
        with contextlib.suppress(EOFError):
            while True:
                await self.server.handle(await self._ours.receive())


@contextlib.asynccontextmanager
async def worker(store: LocalQuotaStore, *, is_served: bool = True) -> AsyncGenerator[Worker]:
    ours, theirs = socket.socketpair()
    channels = await Channel.open(ours), await Channel.open(theirs)
    made = Worker(*channels, store)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(made.receive())]
        if is_served:
            running.append(tasks.create_task(made.serve()))
        yield made
        for task in running:
            task.cancel()
    for channel in channels:
        channel._writer.transport.abort()  # what was sent may never be read


async def until_left(store: LocalQuotaStore, number: int) -> None:
    async with asyncio.timeout(20):
        while await left(store) != number:
            await asyncio.sleep(0.005)


async def test_permits_of_two_workers() -> None:
    """Two workers use one limit together: what one leaves or returns, the other gets; a back-off reaches both."""
    store = LocalQuotaStore()
    async with worker(store) as first, worker(store) as second:
        lease = await first.store.lease(demand(4), NO_HISTORY)
        assert (lease.permits, (await second.store.lease(demand(16), NO_HISTORY)).permits) == (4, 6)
        assert (await second.store.lease(demand(1, latest=now() + 1), NO_HISTORY)).permits == 0
        await first.store.settle(lease, 3)
        await until_left(store, 3)
        await first.store.back_off(Modality.TEXT, 20.0)
        await until_left(store, 0)
        told = await second.store.lease(demand(1, latest=-math.inf), NO_HISTORY)
        assert 19 < told.back_off <= 20


async def test_usage_of_an_outage_is_reported() -> None:
    """What a worker has used without the store counts for all."""
    store = LocalQuotaStore()
    async with worker(store) as one:
        report = demand(1, -math.inf)._replace(unrecorded={PER_DAY.name: (PastUsage(3.0, 7.0),)})
        assert (await one.store.lease(report, NO_HISTORY)).permits == 0
        assert await left(store) == 3


async def test_concurrent_requests() -> None:
    """Each of many concurrent requests gets its own reply."""
    store = LocalQuotaStore()
    many = RateLimit("many", 1000, 86400.0)
    async with worker(store) as one:
        wanted = [demand(number)._replace(limits=[many]) for number in range(1, 30)]
        found = await asyncio.gather(*[one.store.lease(each, NO_HISTORY) for each in wanted])
    assert [lease.permits for lease in found] == [*range(1, 30)]


async def test_a_supervisor_that_does_not_read() -> None:
    """Requests fail; what was sent stays bounded however many follow; what has expired reserves nothing later."""
    store = LocalQuotaStore()
    async with worker(store, is_served=False) as one:
        with pytest.raises(QuotaStoreUnavailable, match="has not answered within"):
            await one.store.lease(demand(1), NO_HISTORY)
        sent = 0
        while True:
            request = asyncio.ensure_future(one.store.lease(demand(1), NO_HISTORY))
            await asyncio.sleep(0)
            if request.done():
                break
            request.cancel()
            sent += 1
        assert 100 < sent < 10_000
        for refused in (request, one.store.settle(Lease(demand(1), 1, 0, 0), 1), one.store.back_off(Modality.TEXT, 1)):
            with pytest.raises(QuotaStoreUnavailable, match="does not read"):
                await refused
        await asyncio.sleep(0.25)  # the time after which the requests have expired
        serving = asyncio.ensure_future(one.serve())
        async with asyncio.timeout(20):
            while not one.channel.has_room:
                await asyncio.sleep(0.005)
        assert (await one.store.lease(demand(16), NO_HISTORY)).permits == 10
        serving.cancel()


async def test_a_late_reply() -> None:
    """The permits of a reply for which no request waits are returned."""
    store = LocalQuotaStore()
    async with worker(store) as one:
        lease = await store.lease(demand(4))
        one.store.receive(LeaseReply(99, lease))
        await until_left(store, 10)


async def test_a_worker_that_does_not_read() -> None:
    """The supervisor drops replies while the channel is full, and reserves nothing for them."""
    store = LocalQuotaStore()
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await Channel.open(ours)
        server = QuotaServer(store, channel)
        for number in range(20_000):
            await server.handle(LeaseRequest(number, demand(1, latest=-math.inf), math.inf))
        assert not channel.has_room
        assert channel._writer.transport.get_write_buffer_size() < 512 << 10
        await server.handle(LeaseRequest(0, demand(5), math.inf))
        assert await left(store) == 10
        channel._writer.transport.abort()


async def test_permits_of_a_worker_that_has_ended() -> None:
    """Those for a later time are returned, once; those that it may have used count as used."""
    store = LocalQuotaStore()
    async with worker(store) as dead, worker(store) as other:
        await dead.store.lease(demand(10), NO_HISTORY)
        later = await dead.store.lease(demand(1), NO_HISTORY)
        assert later.available_at > now() + 86400
        for _ in range(2):
            await dead.server.release()
        assert await left(store) == 0
        assert (await other.store.lease(demand(1), NO_HISTORY)).available_at == later.available_at


@contextlib.contextmanager
def supervisor_in_a_thread(end: socket.socket) -> Generator[None]:
    async def serve() -> None:
        channel = await Channel.open(end)
        server = QuotaServer(LocalQuotaStore(), channel)
        with contextlib.suppress(EOFError):
            while True:
                await server.handle(await channel.receive())
        await channel.aclose()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    yield
    thread.join()


async def test_a_blocked_event_loop() -> None:
    """A worker whose event loop was blocked for longer than the time limit finds the reply."""
    ours, theirs = socket.socketpair()
    with supervisor_in_a_thread(ours):
        channel = await Channel.open(theirs)
        channel.send(LeaseRequest(-1, demand(1), math.inf))
        await channel.receive()  # the thread has begun
        store = SupervisorQuotaStore(channel)
        while True:
            request = asyncio.ensure_future(store.lease(demand(1), NO_HISTORY))
            for _ in range(3):
                await asyncio.sleep(0)
            time.sleep(0.5)  # noqa: ASYNC251 - blocks the event loop
            try:
                reply = await asyncio.wait_for(channel.receive(), 5)
            except TimeoutError:  # the supervisor did not run either, until the request had expired
                with pytest.raises(QuotaStoreUnavailable):
                    await request
                continue
            break
        assert isinstance(reply, LeaseReply)
        store.receive(reply)
        assert (await request).permits == 1
        await channel.aclose()
