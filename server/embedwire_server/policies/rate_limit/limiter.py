"""The pace of one credential and modality: its rate limits, the upstream's holds, and whose turn it is.

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
_LONGEST_DOUBT = 5.0  # of a hint that was too short, as 0 always is: the next one may be right
_MOST_REFUSALS = 10  # those after it change nothing
UPSTREAM_LIMIT = "upstream"


@dataclasses.dataclass(slots=True, eq=False)
class Reservation:
    """The turn of one attempt.

    Attributes:
        minutes: of media, by the file's header; 0 if unknown.
        began: when it came.
        media: where its minutes are counted.
    """

    minutes: float
    began: float = math.inf
    media: list[tuple[SlidingWindow, Usage]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """A call that waits for its turn."""

    call: EmbedCall
    turn: Reservation
    came: asyncio.Future[None]


class RateLimiter:
    """Hands out turns, none before every limit allows it.

    Args:
        modality: of the inputs.
        limits: the configured ones.
        metrics: count what waits, is refused and held back.
        is_shared: by several credentials. What the upstream asks for one of them does not hold the others, only that
            a limit was reached does.

    Attributes:
        host: where the credential came from last.
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
        self._refusals = 0  # holds since the last success
        self._wants_probe = False
        self._probe: Reservation | None = None
        self._waiting = metrics.pacing_waiting.labels(modality)
        self._seconds = metrics.pacing_seconds.labels(modality)
        self.limit(limits)

    def limit(self, limits: Sequence[RateLimit]) -> None:
        """Go by these limits from now on; what has gone counts for those that were there before."""
        before = {window.limit.name: window for window in self._windows}
        self._windows = [before.get(limit.name) or SlidingWindow(limit) for limit in limits]
        for window, limit in zip(self._windows, limits, strict=True):
            window.set_limit(limit)
        self.counts_media = any(limit.is_media for limit in limits)
        if self._queue:
            self._dispatch()

    @property
    def is_idle(self) -> bool:
        """Whether no input waits for it."""
        return not self._queue and self._probe is None

    @property
    def is_held(self) -> bool:
        """Whether the upstream's limit stops its calls now."""
        return asyncio.get_running_loop().time() < self._held_until

    def try_acquire(self, turn: Reservation, call: EmbedCall) -> bool:
        """Begin a turn if it may begin now; it has to be ended.

        Raises:
            RateLimited: it would begin after the deadline of the call.
            DeadlineExceeded: that has passed.
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
        """Wait until a turn begins, fair by caller, first come first served among those of one; it has to be ended.

        Raises:
            RateLimited: it would begin after the deadline of the call; raised as soon as that is known.
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
                came.exception()  # retrieved, or asyncio logs it: a cancelled call does not raise it
            self._queue.discard(call.caller, call.arrival)
            self.release(turn)  # it may have come in the same moment
            self._dispatch()
            raise
        finally:
            self._waiting.dec()
        self._seconds.observe(turn.began - asked)

    def confirm(self, turn: Reservation, hold: float) -> None:
        """The upstream did not say that its limit is reached, only for how long nothing remains, if so."""
        if turn.began >= self._held_at:  # what went before the hold says nothing of it
            self._refusals = 0
        if hold > 0 and not self._is_shared:
            self._hold(hold, wants_probe=hold > LONGEST_HOLD)
        self._end(turn, is_answered=True)

    def back_off(self, turn: Reservation, asked: float | None) -> float:
        """The upstream said that its limit is reached: hold every call for as long as it asked, or back off.

        The back-off doubles with each hold until a request succeeds. It counts when the upstream gave no hint or 0, and
        when a request that obeyed a hint was refused again, so that hints of milliseconds cannot cause a storm.

        Returns:
            How many seconds to wait; more than that if the hold in force is longer.
        """
        if turn.began >= self._held_at:  # several requests learn of one limit at a time
            self._refusals = min(self._refusals + 1, _MOST_REFUSALS)
        hint = None if self._is_shared else asked
        is_doubtful = not hint or self._refusals > 1
        seconds = max(hint or 0.0, self._back_off(hint) if is_doubtful else 0.0)
        self._hold(seconds, wants_probe=is_doubtful or seconds > LONGEST_HOLD)
        self._end(turn, is_answered=True)
        return max(asked or 0.0, seconds, self._held_until - asyncio.get_running_loop().time())

    def _back_off(self, hint: float | None) -> float:
        longest = _LONGEST_BACK_OFF if hint is None else _LONGEST_DOUBT
        obeyed = 1 if hint else 0  # the first hint was
        seconds: float = min(longest, _FIRST_BACK_OFF * 2 ** max(0, self._refusals - obeyed - 1))
        return seconds * random.uniform(1, 1.2)  # noqa: S311 - no secret

    def reconcile(self, turn: Reservation, minutes: float) -> None:
        """Count the minutes that the upstream found, instead of those that a header claimed or that were unknown."""
        now = asyncio.get_running_loop().time()
        for window, gone in turn.media:
            window.adjust(now, gone, minutes - turn.minutes)
        turn.minutes = minutes
        self._dispatch()

    def release(self, turn: Reservation) -> None:
        """The attempt has ended in any way. A probe without an answer shows nothing: the next attempt is one."""
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
        """The turns that come before a call that joins now."""
        count = self._queue.ahead(call.caller, call.arrival)
        return [waiting.turn for waiting in itertools.islice(self._queue, count)]

    def _opens(self, now: float, minutes: float, ahead: Sequence[Reservation] = ()) -> tuple[float, RateLimit | None]:
        """When a turn comes with these ahead, and the limit that decides it; None is the upstream's."""
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
        """Hand out every turn that may be had now, and come back when the next one may."""
        now = asyncio.get_running_loop().time()
        self._sleep()
        while self._queue and self._probe is None:
            waiting = self._queue.peek()
            if not waiting.came.done():  # an input that gave up has not left yet
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
            words = f"{name}{most}: this file alone has more; split it"
            return RateLimited(words, quotas=(QuotaViolation(name, words),))
        words = f"{name}{most}: the next fits in {opens_in:.3g} s, the deadline is in {max(0.0, time_left):.3g} s"
        return RateLimited(words, retry_delay=opens_in, quotas=(QuotaViolation(name, words),))
