"""Rate limiter of one credential and modality: sliding windows, upstream back-off, and a fair queue.

Times are seconds of the event loop's clock.
"""

import asyncio
import dataclasses
import itertools
import math
import random
from collections.abc import Sequence

from embedwire_server.core.errors import DeadlineExceeded, QuotaViolation, RateLimited
from embedwire_server.core.models import Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.fair_queue import FairQueue
from embedwire_server.policies.rate_limit.sliding_window import RateLimit, SlidingWindow, Usage
from embedwire_server.upstreams.base import EmbedCall

LONGEST_HOLD = 3600.0
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 1.0, 60.0
_LONGEST_DOUBT = 5.0  # longest back-off after a hint that was too short, as 0 always is: the next one may be right
_MOST_REFUSALS = 10  # limits the exponent of the back-off
UPSTREAM_LIMIT = "upstream"


@dataclasses.dataclass(slots=True, eq=False)
class Reservation:
    """Reservation of one attempt.

    Attributes:
        minutes: minutes of media, by the file's header; 0 if unknown.
        began: when it was granted.
        media: its usage of each limit on media minutes.
    """

    minutes: float
    began: float = math.inf
    media: list[tuple[SlidingWindow, Usage]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """A call that waits for its reservation."""

    call: EmbedCall
    turn: Reservation
    came: asyncio.Future[None]


class RateLimiter:
    """Fair rate limiter: grants a reservation once every limit allows it.

    Args:
        modality: modality of the inputs.
        limits: configured limits.
        metrics: count waits, rejections and back-offs.
        is_shared: whether several credentials share it. The delay that the upstream asks of one of them is then ignored
            in favour of the limiter's own back-off.

    Attributes:
        host: the host that used the credential last.
    """

    def __init__(
        self, modality: Modality, limits: Sequence[RateLimit], metrics: Metrics, *, is_shared: bool = False
    ) -> None:
        self._modality = modality
        self._metrics = metrics
        self._is_shared = is_shared
        self.host = ""
        self._windows: list[SlidingWindow] = []
        self.counts_media = False
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._held_at = -math.inf
        self._held_until = -math.inf
        self._refusals = 0  # rate-limit errors since the last success
        self._wants_probe = False
        self._probe: Reservation | None = None
        self._waiting = metrics.pacing_waiting.labels(modality)
        self._seconds = metrics.pacing_seconds.labels(modality)
        self.limit(limits)

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        before = {window.limit.name: window for window in self._windows}
        self._windows = [before.get(limit.name) or SlidingWindow(limit) for limit in limits]
        for window, limit in zip(self._windows, limits, strict=True):
            window.set_limit(limit)
        self.counts_media = any(limit.is_media for limit in limits)
        if self._queue:
            self._dispatch()

    @property
    def is_idle(self) -> bool:
        """Whether no call waits and no probe is in flight."""
        return not self._queue and self._probe is None

    @property
    def is_held(self) -> bool:
        """Whether an upstream back-off is in force."""
        return asyncio.get_running_loop().time() < self._held_until

    def try_acquire(self, turn: Reservation, call: EmbedCall) -> bool:
        """Make a reservation if the limits allow it now; the caller must release it.

        Raises:
            RateLimited: the limits allow it only after the call's deadline.
            DeadlineExceeded: the deadline has passed.
        """
        now = asyncio.get_running_loop().time()
        if now >= call.deadline:
            raise DeadlineExceeded
        available_at, limit = self._opens(now, turn.minutes, self._ahead(call) if self._queue else ())
        if available_at >= call.deadline:
            raise self._refusal(limit, available_at - now, call.deadline - now)
        if available_at > now or not self.is_idle:
            return False
        self._go(turn, now)
        self._seconds.observe(0.0)
        return True

    async def acquire(self, turn: Reservation, call: EmbedCall) -> None:
        """Wait for a reservation, fair by caller and in order of arrival within one; the caller must release it.

        Raises:
            RateLimited: the limits allow it only after the call's deadline; raised as soon as that is known.
        """
        loop = asyncio.get_running_loop()
        asked, came = loop.time(), loop.create_future()
        self._queue.push(call.caller, call.arrival, _Waiting(call, turn, came))
        self._waiting.inc()
        self._dispatch()
        try:
            with call.time("queue"):
                await came
        except BaseException:
            if came.done() and not came.cancelled():
                came.exception()  # mark as retrieved, or asyncio logs it: a cancelled call does not raise it
            self._queue.discard(call.caller, call.arrival)
            self.release(turn)  # it may have been granted in the same iteration of the event loop
            self._dispatch()
            raise
        finally:
            self._waiting.dec()
        self._seconds.observe(turn.began - asked)

    def confirm(self, turn: Reservation, hold: float) -> None:
        """Record a response that is no rate-limit error; back off for `hold` seconds if it reports a used-up limit."""
        if turn.began >= self._held_at:  # ignore attempts that were sent before the back-off
            self._refusals = 0
        if hold > 0 and not self._is_shared:
            self._hold(hold, wants_probe=hold > LONGEST_HOLD)
        self._end(turn, is_answered=True)

    def back_off(self, turn: Reservation, asked: float | None) -> float:
        """Record a rate-limit error: stop every call for as long as the upstream asked, or back off exponentially.

        The back-off doubles with each error until a request succeeds. It applies when the upstream gave no hint or 0,
        and when a request that obeyed a hint failed again, so that hints of milliseconds cannot cause a retry storm.

        Returns:
            Seconds to wait; more than `asked` if a longer back-off is in force.
        """
        if turn.began >= self._held_at:  # concurrent errors of one limit count once
            self._refusals = min(self._refusals + 1, _MOST_REFUSALS)
        hint = None if self._is_shared else asked
        is_doubtful = not hint or self._refusals > 1
        seconds = max(hint or 0.0, self._back_off(hint) if is_doubtful else 0.0)
        self._hold(seconds, wants_probe=is_doubtful or seconds > LONGEST_HOLD)
        self._end(turn, is_answered=True)
        return max(asked or 0.0, seconds, self._held_until - asyncio.get_running_loop().time())

    def _back_off(self, hint: float | None) -> float:
        longest = _LONGEST_BACK_OFF if hint is None else _LONGEST_DOUBT
        obeyed = 1 if hint else 0  # the first error with a hint does not count
        seconds: float = min(longest, _FIRST_BACK_OFF * 2 ** max(0, self._refusals - obeyed - 1))
        return seconds * random.uniform(1, 1.2)  # noqa: S311 - no secret

    def reconcile(self, turn: Reservation, minutes: float) -> None:
        """Replace the minutes of a reservation, claimed by a header or unknown, by those that the upstream found."""
        now = asyncio.get_running_loop().time()
        for window, gone in turn.media:
            window.adjust(now, gone, minutes - turn.minutes)
        turn.minutes = minutes
        self._dispatch()

    def release(self, turn: Reservation) -> None:
        """End the attempt. If it was a probe without a response, the next attempt is a probe."""
        self._end(turn, is_answered=False)

    def _end(self, turn: Reservation, *, is_answered: bool) -> None:
        if turn is self._probe:
            self._probe = None
            self._wants_probe = self._wants_probe or not is_answered
            self._dispatch()

    def _hold(self, seconds: float, *, wants_probe: bool) -> None:
        now = asyncio.get_running_loop().time()
        self._metrics.pacing_holds.labels(self._modality).inc()
        self._held_at = now
        until = now + min(seconds, LONGEST_HOLD)
        if until <= self._held_until:
            return
        self._held_until, self._wants_probe = until, wants_probe
        for waiting in self._queue:
            if until >= waiting.call.deadline and not waiting.came.done():
                refusal = self._refusal(None, until - now, waiting.call.deadline - now)
                waiting.came.set_exception(refusal)

    def _ahead(self, call: EmbedCall) -> Sequence[Reservation]:
        """Return the reservations ahead of a call that is queued now."""
        count = self._queue.ahead(call.caller, call.arrival)
        return [waiting.turn for waiting in itertools.islice(self._queue, count)]

    def _opens(self, now: float, minutes: float, ahead: Sequence[Reservation] = ()) -> tuple[float, RateLimit | None]:
        """Return when a reservation with these ahead is possible, and the deciding limit; None is the upstream's."""
        start = latest = max(now, self._held_until)
        binding = None
        for window in self._windows:
            if window.limit.is_media:
                available_at = window.available_at(start, minutes, sum(turn.minutes for turn in ahead))
            else:
                available_at = window.available_at(start, 1.0, len(ahead))
            if available_at > latest:
                latest, binding = available_at, window.limit
        return latest, binding

    def _go(self, turn: Reservation, now: float) -> None:
        turn.began = now
        for window in self._windows:
            gone = window.consume(now, turn.minutes if window.limit.is_media else 1.0)
            if window.limit.is_media:
                turn.media.append((window, gone))
        if self._wants_probe:
            self._wants_probe, self._probe = False, turn

    def _dispatch(self) -> None:
        """Grant every reservation that the limits allow now, and schedule the next run."""
        now = asyncio.get_running_loop().time()
        self._sleep()
        while self._queue and self._probe is None:
            waiting = self._queue.peek()
            if not waiting.came.done():  # done if it was cancelled or has failed, and is not removed yet
                available_at, limit = self._opens(now, waiting.turn.minutes)
                if now < available_at < math.inf:
                    self._wake(available_at)
                    return
                if available_at > now:  # the limit was lowered meanwhile
                    waiting.came.set_exception(self._refusal(limit, available_at, waiting.call.deadline - now))
                else:
                    self._go(waiting.turn, now)
                    waiting.came.set_result(None)
            self._queue.pop()

    def _wake(self, at: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(at, self._dispatch)

    def _sleep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _refusal(self, limit: RateLimit | None, opens_in: float, time_left: float) -> RateLimited:
        name = limit.name if limit else f"{self._modality} requests to the upstream"
        most = f" (at most {limit.amount})" if limit else ", which asked to wait"
        self._metrics.pacing_refusals.labels(self._modality, limit.name if limit else UPSTREAM_LIMIT).inc()
        if math.isinf(opens_in):
            words = f"{name}{most}: this file alone exceeds it; split the file"
            return RateLimited(words, quotas=(QuotaViolation(name, words),))
        words = (
            f"{name}{most}: capacity is available in {opens_in:.3g} s, the deadline is in {max(0.0, time_left):.3g} s"
        )
        return RateLimited(words, retry_delay=opens_in, quotas=(QuotaViolation(name, words),))
