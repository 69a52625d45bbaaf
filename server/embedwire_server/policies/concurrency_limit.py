"""The concurrency limit: so many inputs of each credential and modality at a time; the others wait in a fair queue."""

import asyncio

from prometheus_client import Gauge

from embedwire_server.core.errors import DeadlineExceeded
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.fair_queue import FairQueue
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream


class ConcurrencyLimitPolicy:
    """Runs so many inputs of each modality at a time, see `Upstream`. What waits is cancelled when its time is up.

    Args:
        upstream: gets them.
        limiter: has the slots.
        metrics: get the inputs whose time was up before.
    """

    def __init__(self, upstream: Upstream, limiter: "ConcurrencyLimiter", metrics: Metrics) -> None:
        self._upstream = upstream
        self._limiter = limiter
        self._metrics = metrics

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input once a slot is free.

        Raises:
            DeadlineExceeded: its time is up; it is not sent.
        """
        if asyncio.get_running_loop().time() >= call.deadline:
            self._metrics.expired_inputs.labels(call.modality).inc()
            raise DeadlineExceeded
        slots = self._limiter.slots(call)
        try:
            if not slots.try_acquire():
                await slots.acquire(call)
            try:
                return await self._upstream.embed(call, emit)
            finally:
                slots.release()
        finally:
            self._limiter.forget(call)


class ConcurrencyLimiter:
    """The slots of each credential and modality.

    Args:
        metrics: get how many inputs wait.
        in_flight: the inputs of one credential and modality that run at a time.
    """

    def __init__(self, metrics: Metrics, in_flight: int) -> None:
        self._metrics = metrics
        self._in_flight = in_flight
        self._slots: dict[tuple[str | None, Modality], Slots] = {}

    def set_capacity(self, in_flight: int) -> None:
        """Use another number from now on; inputs that run go on."""
        self._in_flight = in_flight
        for slots in self._slots.values():
            slots.set_capacity(in_flight)

    def slots(self, call: EmbedCall) -> "Slots":
        """Return the slots for inputs of this credential and modality."""
        name = (call.key, call.modality)
        slots = self._slots.get(name)
        if slots is None:
            slots = self._slots[name] = Slots(self._in_flight, self._metrics.inputs_queued.labels(name[1]))
        return slots

    def forget(self, call: EmbedCall) -> None:
        """Drop the slots of a caller's own credential if no input uses them: callers may bring any number of keys."""
        if call.key is None:
            return
        name = (call.key, call.modality)
        slots = self._slots.get(name)  # gone if several leave in the same moment
        if slots is not None and slots.is_idle:
            del self._slots[name]


class Slots:
    """The slots of one credential and modality.

    Args:
        count: how many there are.
        queued: gets how many wait.
    """

    def __init__(self, count: int, queued: Gauge) -> None:
        self._count = count
        self._free = count
        self._queued = queued
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def is_idle(self) -> bool:
        """Whether all are free."""
        return self._free == self._count

    def try_acquire(self) -> bool:
        """Take a slot if one is free. It has to be released."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def acquire(self, call: EmbedCall) -> None:
        """Wait for a slot. It has to be released."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(call.caller, call.arrival, turn)
        self._queued.inc()
        try:
            with call.time("queue"):
                await turn
        except asyncio.CancelledError:
            self._waiting.discard(call.caller, call.arrival)
            if not turn.cancelled():  # it came in the same moment
                self.release()
            raise
        finally:
            self._queued.dec()

    def release(self) -> None:
        """Hand the slot on to the next input that waits."""
        self._free += 1
        if self._waiting:
            self._hand_out()

    def set_capacity(self, count: int) -> None:
        """Have so many from now on; inputs that hold more slots than that keep them."""
        self._free += count - self._count
        self._count = count
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._free > 0:
            turn = self._waiting.pop()
            if not turn.cancelled():
                self._free -= 1
                turn.set_result(None)
