"""Rate limiter of one credential and modality: capacity, upstream back-off, and a fair queue.

Times are seconds of the event loop's clock.
"""

import asyncio
import itertools
import math
from collections.abc import Sequence

from embedwire_server.core.errors import DeadlineExceeded
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.fair_queue import FairQueue
from embedwire_server.policies.rate_limit.capacity import Capacity, WaitingCall
from embedwire_server.policies.rate_limit.rejection import Rejections
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.upstream_back_off import MAX_BACK_OFF, BackOff
from embedwire_server.policies.rate_limit.usage import ModalityUsage, usage_of
from embedwire_server.policies.rate_limit.waiting import Waiting, too_late
from embedwire_server.upstreams.base import EmbedCall, UpstreamLimit

_SAME_SECONDS = 0.1  # a back-off that ends this much later is the same one, reported by another server


class RateLimiter:
    """Fair rate limiter: grants a reservation once every limit allows it.

    Args:
        modality: modality of the inputs.
        capacity: the limits, and what remains of them.
        metrics: count waits, rejections and back-offs.
        is_shared: whether several credentials share it. The delay that the upstream asks of one of them is then ignored
            in favour of the limiter's own back-off.

    Attributes:
        host: the host that used the credential last.
        reported: the limits in the headers of the upstream's last response that had some, and when that arrived.
    """

    def __init__(self, modality: Modality, capacity: Capacity, metrics: Metrics, *, is_shared: bool = False) -> None:
        self._modality = modality
        self._metrics = metrics
        self._is_shared = is_shared
        self.host = ""
        self.reported: tuple[Sequence[UpstreamLimit], float] = ((), 0.0)
        self._capacity = capacity
        self._queue: FairQueue[Waiting] = FairQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._back_off = BackOff(ignores_hints=is_shared)
        self._wants_probe = False
        self._probe: Reservation | None = None
        self._queue_length = metrics.rate_limit_queue_length.labels(modality)
        self._rejections = Rejections(modality, metrics)
        self._seconds = metrics.rate_limit_wait_seconds.labels(modality)
        capacity.serve(self)

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        self._capacity.limit(limits)
        self.limits_changed()

    @property
    def counts_media(self) -> bool:
        """Whether a limit counts minutes of media."""
        return self._capacity.counts_media

    @property
    def is_idle(self) -> bool:
        """Whether no call waits and no probe is in flight."""
        return not self._queue and self._probe is None

    def usage(self) -> ModalityUsage:
        """Return the usage of its limits."""
        return usage_of(self._modality, self._capacity, self._back_off.until, *self.reported)

    @property
    def is_backing_off(self) -> bool:
        """Whether an upstream back-off is in force."""
        return asyncio.get_running_loop().time() < self._back_off.until

    def remaining(self, name: str, now: float) -> float:
        """Return what the limit of this name still allows; NaN without such a limit. Thread-safe."""
        return next((usage.remaining for usage in self._capacity.usage(now) if usage.name == name), math.nan)

    def try_acquire(self, reservation: Reservation, call: EmbedCall) -> bool:
        """Make a reservation if the limits allow it now; the caller must release it.

        Raises:
            RateLimited: the limits allow it only after the call's deadline.
            DeadlineExceeded: the deadline has passed.
        """
        now = asyncio.get_running_loop().time()
        if now >= call.deadline:
            raise DeadlineExceeded
        start, ahead = max(now, self._back_off.until), self._ahead(call) if self._queue else ()
        available_at, limit = self._capacity.available_at(start, reservation.minutes, ahead)
        if available_at >= call.deadline:
            raise self._rejections.error(limit, available_at - now, call.deadline - now)
        if available_at > now or not self.is_idle or not self._capacity.take(now, reservation):
            return False
        self._grant(reservation, now)
        self._seconds.observe(0.0)
        return True

    async def acquire(self, reservation: Reservation, call: EmbedCall) -> None:
        """Wait for a reservation, fair by caller and in order of arrival within one; the caller must release it.

        Raises:
            RateLimited: the limits allow it only after the call's deadline; raised as soon as that is known.
        """
        loop = asyncio.get_running_loop()
        asked, granted = loop.time(), loop.create_future()
        self._queue.push(call.caller, call.sequence, Waiting(call, reservation, granted))
        self._queue_length.inc()
        self._dispatch()
        try:
            with call.time("queue"):
                await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                granted.exception()  # mark as retrieved, or asyncio logs it: a cancelled call does not raise it
            self._queue.discard(call.caller, call.sequence)
            self._capacity.give_back(reservation)  # it may have been granted in the same iteration of the event loop
            self.release(reservation)
            self._dispatch()
            raise
        finally:
            self._queue_length.dec()
        self._seconds.observe(reservation.began - asked)

    def confirm(self, reservation: Reservation, exhausted_for: float) -> None:
        """Record a response without a rate-limit error; back off for `exhausted_for` seconds if a limit is used up."""
        self._back_off.record_success(reservation.began)
        if exhausted_for > 0 and not self._is_shared:
            self._start_back_off(exhausted_for, wants_probe=exhausted_for > MAX_BACK_OFF)
        self._end(reservation, is_answered=True)

    def back_off(self, reservation: Reservation, asked: float | None) -> float:
        """Record a rate-limit error: stop every call for as long as the upstream asked, or back off exponentially.

        The back-off doubles with each error until a request succeeds. It applies when the upstream gave no hint or 0,
        and when a request that obeyed a hint failed again, so that hints of milliseconds cannot cause a retry storm.

        Returns:
            Seconds to wait; more than `asked` if a longer back-off is in force.
        """
        seconds, is_guess = self._back_off.record_error(reservation.began, asked)
        self._start_back_off(seconds, wants_probe=is_guess or seconds > MAX_BACK_OFF)
        self._end(reservation, is_answered=True)
        return max(asked or 0.0, seconds, self._back_off.until - asyncio.get_running_loop().time())

    def reconcile(self, reservation: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation, claimed by a header or unknown, by those that the upstream found."""
        self._capacity.reconcile(asyncio.get_running_loop().time(), reservation, minutes)
        reservation.minutes = minutes
        self._dispatch()

    def release(self, reservation: Reservation) -> None:
        """End the attempt. If it was a probe without a response, the next attempt is a probe."""
        self._end(reservation, is_answered=False)

    def _end(self, reservation: Reservation, *, is_answered: bool) -> None:
        if reservation is self._probe:
            self._probe = None
            self._wants_probe = self._wants_probe or not is_answered
            self._dispatch()

    def _start_back_off(self, seconds: float, *, wants_probe: bool) -> None:
        self._metrics.rate_limit_backoffs.labels(self._modality).inc()
        self._capacity.back_off(min(seconds, MAX_BACK_OFF))
        self._hold(asyncio.get_running_loop().time(), seconds, wants_probe=wants_probe)

    def _hold(self, now: float, seconds: float, *, wants_probe: bool) -> None:
        if not self._back_off.start(now, seconds):
            return
        self._wants_probe = wants_probe
        self.refuse(self._back_off.until, None)

    def waiting(self) -> Sequence[WaitingCall]:
        """Return the calls that wait, in the order in which they get capacity."""
        waiting = [one for one in self._queue if not one.granted.done()]
        return [WaitingCall(one.call.deadline, one.reservation.minutes) for one in waiting]

    def capacity_changed(self) -> None:
        """Grant what is available now."""
        if self._queue:
            self._dispatch()

    def limits_changed(self) -> None:
        """Grant what is available now, and reject the waiting calls that get no capacity before their deadline."""
        self.capacity_changed()
        start = max(asyncio.get_running_loop().time(), self._back_off.until)
        for refused in too_late(self._queue, self._capacity, start):
            self._refuse(*refused)

    def refuse(self, available_at: float, limit: RateLimit | None, minutes: float = 0.0) -> None:
        """Reject waiting calls of at least these minutes whose deadline is not later than this time."""
        for waiting in self._queue:
            is_late = available_at >= waiting.call.deadline and waiting.reservation.minutes >= minutes
            if is_late and not waiting.granted.done():
                self._refuse(waiting, available_at, limit)

    def learn_back_off(self, seconds: float) -> None:
        """Start a back-off that another server has recorded; it ends with a probe, since it may be a guess."""
        now = asyncio.get_running_loop().time()
        if now + seconds > self._back_off.until + _SAME_SECONDS:
            self._hold(now, seconds, wants_probe=True)

    def _refuse(self, waiting: Waiting, available_at: float, limit: RateLimit | None) -> None:
        now = asyncio.get_running_loop().time()
        waiting.granted.set_exception(self._rejections.error(limit, available_at - now, waiting.call.deadline - now))

    def _ahead(self, call: EmbedCall) -> Sequence[Reservation]:
        """Return the reservations ahead of a call that is queued now."""
        count = self._queue.position(call.caller, call.sequence)
        return [waiting.reservation for waiting in itertools.islice(self._queue, count)]

    def _grant(self, reservation: Reservation, now: float) -> None:
        reservation.began = now
        if self._wants_probe:
            self._wants_probe, self._probe = False, reservation

    def _dispatch(self) -> None:
        """Grant every reservation that the limits allow now, and schedule the next run."""
        now = asyncio.get_running_loop().time()
        if self._timer is not None:
            self._timer.cancel()
        while self._queue and self._probe is None:
            waiting = self._queue.peek()
            if not waiting.granted.done():  # done if it was cancelled or has failed, and is not removed yet
                start = max(now, self._back_off.until)
                available_at, limit = self._capacity.available_at(start, waiting.reservation.minutes)
                if available_at >= waiting.call.deadline:  # a limit was lowered meanwhile, or other servers used it
                    self._refuse(waiting, available_at, limit)
                elif available_at > now:
                    self.refuse(available_at, limit)  # those behind it cannot be granted earlier
                    self._timer = asyncio.get_running_loop().call_at(available_at, self._dispatch)
                    return
                elif self._capacity.take(now, waiting.reservation):
                    self._grant(waiting.reservation, now)
                    waiting.granted.set_result(None)
                else:
                    return
            self._queue.pop()
        if not self._queue:
            self._capacity.end_demand()
