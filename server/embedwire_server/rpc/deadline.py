"""Call deadlines and the write stall timeout."""

import asyncio
import dataclasses
import math
from typing import Any

from embedwire_server.core.cancellation import is_expired, lead_of_caller
from embedwire_server.core.errors import CallerStalled, DeadlineExceeded, GatewayError

LONGEST_SECONDS = 7 * 24 * 3600.0  # timers of the event loop are limited

_TIMER_SECONDS = 0.001  # a timer of the event loop may fire this much early


@dataclasses.dataclass(frozen=True, slots=True)
class DefaultDeadlines:
    """Seconds until the deadline of a call whose caller sets none; the contract promises these values."""

    text: float = 60.0
    audio: float = 600.0
    task: float = 3600.0


NO_DEADLINES = DefaultDeadlines(math.inf, math.inf, math.inf)


class CallScope:
    """Context manager that ends a call at its deadline, or when one write takes too long.

    One timer checks both. Most calls end before it fires, and then it checks the write in progress.

    Args:
        remaining: seconds until the caller's deadline; None if it set none.
        defaults: the deadlines of calls whose caller sets none.
        stall_timeout: the most seconds that one write may take.

    Attributes:
        deadline: a time of the event loop's clock.
        writing_since: the start of the awaited write, by the same clock; None without one.
        is_beginning: whether the first write is in progress, also if it is no longer awaited.
    """

    def __init__(self, remaining: float | None, defaults: DefaultDeadlines, stall_timeout: float) -> None:
        self.writing_since: float | None = None
        self.is_beginning = False
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._defaults = defaults
        self._remaining = remaining
        self._stall_timeout = min(stall_timeout, LONGEST_SECONDS)
        self._failure: GatewayError | None = None
        self._task: asyncio.Task[Any] | None = None  # while the block is entered
        self._timer: asyncio.TimerHandle | None = None
        self.deadline = self._began + min(defaults.text if remaining is None else remaining, LONGEST_SECONDS)

    @property
    def is_expired(self) -> bool:
        """Whether it has reached its deadline, also if its caller's own timer has fired first."""
        return is_expired(self._began, self.deadline)

    def allow_for_audio(self) -> None:
        """Use the longer default deadline if the caller has set none."""
        if self._remaining is None:
            self._move(self._defaults.audio)

    def allow_for_task(self) -> None:
        """Use the longest default deadline; if the caller has set one, end the call before the caller's timer fires.

        Otherwise the failure with the task's identifier would not arrive.
        """
        remaining = self._remaining
        if remaining is None:
            self._move(self._defaults.task)
        else:
            self._move(remaining - lead_of_caller(remaining))

    def _move(self, seconds: float) -> None:
        """Move the deadline to this time after the beginning of the call."""
        if self._failure is None:
            self.deadline = self._began + min(seconds, LONGEST_SECONDS)
            self._schedule_check(self._loop.time())

    def end(self, failure: GatewayError) -> None:
        """Cancel the call's task, wherever it waits; `failure` becomes its status."""
        if self._failure is None and self._task is not None:
            self._failure = failure
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._schedule_check(self._began)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        """Cancel the timer, and raise the failure that has ended the block.

        Raises:
            GatewayError: the argument of `end`, or DeadlineExceeded or CallerStalled, if that has ended the block.
        """
        task, timer, self._task, self._timer = self._task, self._timer, None, None  # they refer to the call
        if timer is not None:
            timer.cancel()
        is_ended = self._failure is not None and task is not None and task.uncancel() == 0
        if is_ended and raised is asyncio.CancelledError:
            raise self._failure from None  # type: ignore[misc] # it is not None

    def _schedule_check(self, since: float) -> None:
        """Set the timer to the deadline or to the stall timeout of a write since `since`, whichever is earlier."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(self.deadline, since + self._stall_timeout), self._check)

    def _check(self) -> None:
        now = self._loop.time() + _TIMER_SECONDS
        since = now if self.writing_since is None else self.writing_since
        if now >= self.deadline:
            self.end(DeadlineExceeded())
        elif now - since >= self._stall_timeout:
            self.end(CallerStalled(self._stall_timeout))
        else:
            self._schedule_check(since)
