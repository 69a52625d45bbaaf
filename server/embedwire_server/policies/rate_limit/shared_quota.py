"""The quota store as the rate limiters of a server use it: in the background, and only while it is available.

While it is unavailable, every server keeps to its part of the limits. It asks again once a second. A server that needs
no permits asks for none at the same interval: it learns of back-offs and of an unavailable store, and reports its usage
to a store that has lost its state.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from embedwire_server.core.models import Modality
from embedwire_server.observability.exception_logging import log_unexpected
from embedwire_server.policies.rate_limit.quota_mode import QuotaMode
from embedwire_server.policies.rate_limit.store import Demand, Lease, QuotaStore, QuotaStoreUnavailable, UsageHistory

WATCH_SECONDS = 1.0  # between two requests without need of permits
# A method of the store ends within 50 ms; one that does not is cancelled after 0.1 s. The time is counted in short
# waits: while the event loop is blocked, as at the start of the server, only one of them passes.
WAITS, WAIT_SECONDS = 10, 0.01
# After the store was unavailable: time in which all servers notice that it is back, and report what they have used.
SETTLING_SECONDS = 2.5
STOP_SECONDS = 0.3  # to return permits when the server stops

T = TypeVar("T")


class Member(Protocol):
    """Capacity of a modality that uses the store."""

    def report(self) -> None:
        """Ask the store for no permit, unless it has been asked a moment ago."""
        ...

    def mode_changed(self) -> None:
        """Note that the store has become available or unavailable, or that all servers have reported their usage."""
        ...

    def return_all(self) -> None:
        """Return all permits: the server stops."""
        ...


class SharedQuota:
    """Access to the store.

    Args:
        store: the store.
        shares: number of servers among which the limits are divided while it is unavailable.
        mode: reports whether it is available.
    """

    def __init__(self, store: QuotaStore, shares: int, mode: QuotaMode) -> None:
        self.shares = shares
        self._store = store
        self._mode = mode
        self._members: list[Member] = []
        self._answered: set[Member] = set()  # since the store was lost
        self._tasks: set[asyncio.Task[Any]] = set()
        self._settling: asyncio.TimerHandle | None = None
        self.is_available = True

    @property
    def is_divided(self) -> bool:
        """Whether each server keeps to its part of the limits: without the store, and until all have reported to it."""
        return not self.is_available or self._settling is not None

    def join(self, member: Member) -> None:
        """Add a capacity that uses the store."""
        self._members.append(member)

    def lease(
        self,
        member: Member,
        demand: Demand,
        history: Callable[[], UsageHistory],
        answered: Callable[[Lease | None], None],
    ) -> None:
        """Ask for permits in the background; `answered` gets the answer, or None if the store is unavailable."""

        def done(lease: Lease | None) -> None:
            if lease is not None and not self.is_available:
                self._answer_of(member)
            answered(lease)

        self._start(self._store.lease(demand, history), done)

    def settle(self, lease: Lease, unused: int, minutes: float = 0.0) -> None:
        """Settle a lease in the background; without the store its permits just expire."""
        if self.is_available:
            self._start(self._store.settle(lease, unused, minutes))

    def back_off(self, modality: Modality, seconds: float) -> None:
        """Record a back-off in the background."""
        if self.is_available:
            self._start(self._store.back_off(modality, seconds))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Watch the store; at the end, return all permits."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            for member in self._members:
                member.return_all()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            self.is_available = False  # nothing starts any more
            for task in (*self._tasks, watching):
                task.cancel()
            await asyncio.wait((*self._tasks, watching))

    async def _watch(self) -> None:
        while True:
            for member in self._members:
                member.report()
            self._mode.log()
            await asyncio.sleep(WATCH_SECONDS)

    def _start(self, request: Coroutine[Any, Any, T], done: Callable[[T | None], None] | None = None) -> None:
        def ended(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            result = self._result(task)
            if done is not None:
                done(result)

        context = contextvars.Context()  # not that of the call that asks: what is logged concerns the store
        task = asyncio.create_task(request, context=context)
        self._tasks.add(task)
        task.add_done_callback(ended, context=context)
        _cancel_late(task, WAITS)

    def _result(self, task: asyncio.Task[T]) -> T | None:
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return task.result()
        if error is not None and not isinstance(error, QuotaStoreUnavailable):
            log_unexpected(error)
        self._lose()
        return None

    def _lose(self) -> None:
        self._answered.clear()
        if self.is_available:
            self._set_available(is_available=False)

    def _answer_of(self, member: Member) -> None:
        """Use the store again once every modality has reported what was used without it."""
        self._answered.add(member)
        if len(self._answered) == len(self._members):
            self._settling = asyncio.get_running_loop().call_later(SETTLING_SECONDS, self._end_settling)
            self._set_available(is_available=True)

    def _end_settling(self) -> None:
        """Share the limits again. Permits for a later time were granted before all servers had reported their usage."""
        self._settling = None
        for member in self._members:
            member.return_all()
        self._tell()

    def _set_available(self, *, is_available: bool) -> None:
        if not is_available and self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self.is_available = is_available
        self._mode.set(is_shared=is_available)
        self._tell()

    def _tell(self) -> None:
        for member in self._members:
            member.mode_changed()


def _cancel_late(task: asyncio.Task[Any], waits: int) -> None:
    """Cancel a task that has not ended after these waits."""
    if task.done():
        return
    if waits:
        asyncio.get_running_loop().call_later(WAIT_SECONDS, _cancel_late, task, waits - 1)
    else:
        task.cancel()
