"""Concurrency limit per credential and modality, with a fair queue."""

import asyncio

from prometheus_client import Gauge

from embedwire_server.config.settings import Settings
from embedwire_server.core.errors import DeadlineExceeded
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Stage
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.fair_queue import FairQueue
from embedwire_server.upstreams.base import EmbedCall, Emit, Report, Upstream


class ConcurrencyLimitPolicy:
    """Middleware that limits the inputs in flight; see `Upstream`. Waiting inputs are cancelled at their deadline.

    An input whose task the upstream processes has no slot any more: it only polls, for up to hours, and other inputs
    would wait for it.

    Args:
        upstream: the next one.
        limiter: provides the slots.
        metrics: count the inputs whose deadline passed before they were sent.
    """

    def __init__(self, upstream: Upstream, limiter: "ConcurrencyLimiter", metrics: Metrics) -> None:
        self._upstream = upstream
        self._limiter = limiter
        self._metrics = metrics

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input once a slot is free.

        Raises:
            DeadlineExceeded: the deadline has passed; the input is not sent.
        """
        if asyncio.get_running_loop().time() >= call.deadline:
            self._metrics.expired_inputs.labels(call.modality).inc()
            raise DeadlineExceeded
        slots = self._limiter.slots(call)
        try:
            if not slots.try_acquire():
                await self._acquire(slots, call)
            slot = Slot(slots, call.report)
            call.report = slot.report
            try:
                return await self._upstream.embed(call, emit)
            finally:
                slot.release()
        finally:
            self._limiter.forget(call)

    async def _acquire(self, slots: "Slots", call: EmbedCall) -> None:
        try:
            await slots.acquire(call)
        except asyncio.CancelledError:
            if call.is_expired:
                self._metrics.expired_inputs.labels(call.modality).inc()
            raise


class ConcurrencyLimiter:
    """Concurrency limits, one per credential and modality.

    Args:
        metrics: show how many inputs wait.
        in_flight: limit per credential and modality.
    """

    def __init__(self, metrics: Metrics, in_flight: int) -> None:
        self._metrics = metrics
        self._in_flight = in_flight
        self._slots: dict[tuple[str | None, Modality], Slots] = {}

    def reconfigure(self, settings: Settings) -> None:
        """Apply the limit of these settings; see `set_capacity`."""
        self.set_capacity(settings.concurrency.inputs_per_modality)

    def set_capacity(self, in_flight: int) -> None:
        """Change the limit; inputs in flight are not interrupted."""
        self._in_flight = in_flight
        for slots in self._slots.values():
            slots.set_capacity(in_flight)

    def slots(self, call: EmbedCall) -> "Slots":
        """Return the slots for the credential and modality of a call."""
        name = (call.credential, call.modality)
        slots = self._slots.get(name)
        if slots is None:
            slots = self._slots[name] = Slots(self._in_flight, self._metrics.inputs_queued.labels(name[1]))
        return slots

    def forget(self, call: EmbedCall) -> None:
        """Drop the slots of a caller's own credential if they are idle: callers may send any number of keys."""
        if call.credential is None:
            return
        name = (call.credential, call.modality)
        slots = self._slots.get(name)  # None if another call has dropped them
        if slots is not None and slots.is_idle:
            del self._slots[name]


class Slot:
    """An acquired slot of one input, which is released once.

    Args:
        slots: it is one of these.
        report: passes the stages of the input on.
    """

    __slots__ = ("_is_held", "_report", "_slots")

    def __init__(self, slots: "Slots", report: Report | None) -> None:
        self._slots = slots
        self._report = report
        self._is_held = True

    async def report(self, call: EmbedCall, stage: Stage) -> None:
        """Pass a stage on; release the slot if the upstream processes the input as a task from now on."""
        if stage is Stage.PROCESSING:
            self.release()
        if self._report is not None:
            await self._report(call, stage)

    def release(self) -> None:
        """Release the slot, unless it has been released."""
        if self._is_held:
            self._is_held = False
            self._slots.release()


class Slots:
    """Resizable concurrency limiter with a fair queue.

    Args:
        count: number of slots.
        queued: gauge of the inputs that wait.
    """

    def __init__(self, count: int, queued: Gauge) -> None:
        self._count = count
        self._free = count
        self._queued = queued
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def is_idle(self) -> bool:
        """Whether all slots are free."""
        return self._free == self._count

    def try_acquire(self) -> bool:
        """Acquire a slot if one is free; the caller must release it."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def acquire(self, call: EmbedCall) -> None:
        """Wait for a slot; the caller must release it."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(call.caller, call.sequence, granted)
        self._queued.inc()
        try:
            with call.time("queue"):
                await granted
        except asyncio.CancelledError:
            self._waiting.discard(call.caller, call.sequence)
            if not granted.cancelled():  # the slot was granted in the same iteration of the event loop
                self.release()
            raise
        finally:
            self._queued.dec()

    def release(self) -> None:
        """Release a slot, to the next waiting input if there is one."""
        self._free += 1
        if self._waiting:
            self._hand_out()

    def set_capacity(self, count: int) -> None:
        """Change the number of slots; those in use are not revoked."""
        self._free += count - self._count
        self._count = count
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._free > 0:
            granted = self._waiting.pop()
            if not granted.cancelled():
                self._free -= 1
                granted.set_result(None)
