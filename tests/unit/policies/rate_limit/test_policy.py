"""The upstream's rate limits, the configured ones and those it tells: who waits, how long, and whose turn it is."""

import asyncio
import dataclasses
import gc
import itertools
import random
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from embedwire_server.core.errors import DeadlineExceeded, RateLimited, Reason, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, FileSource, UrlSource
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.media.spool import InMemoryContent
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit import policy
from embedwire_server.policies.rate_limit.limiter import LONGEST_HOLD, RateLimiter, Reservation
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.testing import Attempt, Script, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import (
    SEGMENT,
    Embedded,
    call,
    embedded,
    gathered,
    limited,
    refusal,
    sample,
    start,
    times,
    undecided,
)
from tests.support.media import wav
from tests.support.virtual_time import in_virtual_time, now, settled

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MARGIN = 1.0
OK = Attempt.succeed


class SeenPaces(RateLimiters):
    """Knows which paces are remembered, and no others."""

    def __init__(self, limits: Mapping[Modality, Sequence[RateLimit]], metrics: Metrics) -> None:
        super().__init__(limits, metrics)
        self._seen = weakref.WeakSet[RateLimiter]()

    def of(self, call: EmbedCall) -> RateLimiter:
        pace = super().of(call)
        self._seen.add(pace)
        return pace

    def count(self) -> int:
        """How many there are, if nothing else refers to them."""
        gc.collect()
        return len(self._seen)


class Bench:
    """A paced upstream whose answers the test gives."""

    def __init__(self, *limits: RateLimit, modality: Modality = Modality.TEXT, script: Script = undecided) -> None:
        self.metrics = Metrics("fake")
        self.upstream = ScriptedUpstream(script)
        self.paces = SeenPaces({modality: limits}, self.metrics)
        self.paced = RateLimitPolicy(self.upstream, self.paces)

    @property
    def attempts(self) -> list[Attempt]:
        return self.upstream.attempts

    @property
    def times(self) -> list[float]:
        return times(self.upstream)

    def remembered(self) -> int:
        """Of how many credentials and modalities the pace is remembered."""
        self.attempts.clear()  # they refer to the pace that they had
        return self.paces.count()

    async def answered(self, wanted: EmbedCall, failure: Exception | None = None, hold: float = 0.0) -> None:
        """Make one call and let the upstream say this."""
        [task] = start(self.paced, wanted)
        await settled()
        if failure is None:
            self.attempts[-1].succeed(hold=hold)
            await task
        else:
            self.attempts[-1].fail(failure, hold)
            with pytest.raises(type(failure)):
                await task

    def sample(self, name: str, modality: str = "text", **labels: str) -> float:
        return sample(self.metrics, name, modality=modality, **labels)


def per_minute(amount: int, modality: str = "text") -> RateLimit:
    return RateLimit(f"{modality} requests per minute", amount, MINUTE)


def per_day(amount: int) -> RateLimit:
    return RateLimit("text requests per day", amount, DAY)


def per_hour(amount: int) -> RateLimit:
    return RateLimit("audio minutes per hour", amount, HOUR, is_media=True)


def audio(
    minutes: float | None = None, *, offset: float | None = None, deadline: float = 1e9, caller: str = "1"
) -> EmbedCall:
    """A call with a WAV file of that length; with a URL if it is None."""
    source = UrlSource("http://media.test/a") if minutes is None else _file(minutes)
    return call(item=AudioInput("", source, offset), deadline=deadline, caller=("host", caller))


def _file(minutes: float) -> FileSource:
    return FileSource(InMemoryContent(wav(minutes * 60, rate=100)), "a.wav", "audio/wav")


# --- holds ---


@pytest.mark.parametrize("asked", [0.5, 7.0, 3600.0])
@in_virtual_time
async def test_a_hold_stops_its_own_only(asked: float) -> None:
    """After a 429 nobody of its credential and modality goes until its time is over; everybody else does."""
    bench = Bench()
    await bench.answered(call(), limited(asked))
    held = now()
    own = start(bench.paced, *[call(caller=("b", "1")) for _ in range(5)])
    others = start(bench.paced, call("image"), call("audio"), call(key="k"))
    await settled()
    assert [(attempt.call.input.modality, attempt.call.key) for attempt in bench.attempts[1:]] == [
        ("image", None),
        ("audio", None),
        ("text", "k"),
    ]
    assert bench.sample("embedwire_rate_limit_queue_length") == 5
    bench.upstream.script = OK
    for attempt in bench.attempts[1:]:
        attempt.succeed()
    await asyncio.gather(*own, *others)

    assert [attempt.at - held for attempt in bench.attempts[4:]] == pytest.approx([asked] * 5)
    assert bench.sample("embedwire_rate_limit_queue_length") == 0
    assert bench.sample("embedwire_rate_limit_backoffs_total") == 1


@in_virtual_time
async def test_credentials_of_callers_are_held_apart() -> None:
    """A caller's own key has holds of its own, which the server's and other callers' keys do not feel."""
    bench = Bench()
    await bench.answered(call(key="a"), limited(60))
    await bench.answered(call())
    await bench.answered(call(key="b"))
    [late] = start(bench.paced, call(key="a"))
    await settled()
    assert not late.done()
    assert len(bench.attempts) == 3
    late.cancel()
    await gathered([late])


@pytest.mark.parametrize("status", [200, 400, 503])
@in_virtual_time
async def test_a_reply_after_which_nothing_remains_holds(status: int) -> None:
    """Whatever the reply, if it says that nothing remains until some time, everybody waits until then."""
    bench = Bench()
    failure = None if status == 200 else refusal(status, Reason.INPUT_REJECTED)
    await bench.answered(call(), failure, hold=9.0)
    held = now()
    bench.upstream.script = OK
    await embedded(bench.paced, call())

    assert bench.attempts[-1].at - held == pytest.approx(9)


@in_virtual_time
async def test_a_hold_is_not_shortened() -> None:
    """Replies to what was under way may lengthen a hold; a shorter one among them changes nothing."""
    bench = Bench()
    tasks = start(bench.paced, *[call() for _ in range(4)])
    await settled()
    for attempt, asked in zip(bench.attempts, (5.0, 30.0, 10.0, None), strict=True):
        attempt.fail(limited(asked))
        await settled()
    await gathered(tasks)
    bench.upstream.script = OK
    await embedded(bench.paced, call())

    assert bench.attempts[-1].at == pytest.approx(30)


@in_virtual_time
async def test_what_a_refused_one_is_told() -> None:
    """A reply without a hint within a longer hold is told the hold, not a guess that is over long before."""
    bench = Bench()
    tasks = start(bench.paced, call(), call())
    await settled()
    bench.attempts[0].fail(limited(30))
    await settled()
    bench.attempts[1].fail(limited())
    failures = await gathered(tasks)

    assert [failure.retry_delay for failure in failures] == pytest.approx([30, 30])


@pytest.mark.parametrize("asked", [3601.0, 7200.0, 1e6, 1e9, 1e300])
@in_virtual_time
async def test_a_long_hold_ends_with_one_probe(asked: float) -> None:
    """A hold lasts one hour at most; then one request goes, and the others after it has succeeded."""
    bench = Bench()
    await bench.answered(call(), limited(asked))
    tasks = start(bench.paced, *[call() for _ in range(10)])
    await asyncio.sleep(LONGEST_HOLD - 1)
    assert len(bench.attempts) == 1
    await asyncio.sleep(100)
    assert len(bench.attempts) == 2
    assert bench.attempts[1].at == pytest.approx(LONGEST_HOLD)
    bench.upstream.script = OK
    bench.attempts[1].succeed()
    await asyncio.gather(*tasks)

    assert len(bench.attempts) == 11
    await bench_is_free(bench)


async def bench_is_free(bench: Bench) -> None:
    """Nothing holds or probes any more: two at once go at once."""
    before = len(bench.attempts)
    bench.upstream.script = undecided
    tasks = start(bench.paced, call(), call())
    await settled()
    assert len(bench.attempts) == before + 2
    for attempt in bench.attempts[before:]:
        attempt.succeed()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("hint", ["429", "200 with nothing left"])
@in_virtual_time
async def test_a_failed_probe_begins_a_new_hold(hint: str) -> None:
    """If the probe is told to wait, nobody else goes before the new hold is over, and then one again."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.paced, *[call() for _ in range(10)])
    await asyncio.sleep(LONGEST_HOLD + 1)
    [_, probe] = bench.attempts
    if hint == "429":
        probe.fail(limited(1e6))
    else:
        probe.succeed(hold=1e6)
    began = now()
    await asyncio.sleep(LONGEST_HOLD - 1)
    assert len(bench.attempts) == 2
    await asyncio.sleep(2)
    assert len(bench.attempts) == 3
    assert bench.attempts[2].at == pytest.approx(began + LONGEST_HOLD)
    bench.upstream.script = OK
    bench.attempts[2].succeed()
    await gathered(tasks)
    assert len(bench.attempts) == 11


@pytest.mark.parametrize("ending", ["cancelled", "connection lost", "log_unexpected", "cancelled after a segment"])
@in_virtual_time
async def test_a_probe_without_an_answer(ending: str) -> None:
    """If the probe's caller leaves, or nothing answers, the next one is the probe; a segment is an answer."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.paced, *[call() for _ in range(3)])
    await asyncio.sleep(LONGEST_HOLD + 1)
    [_, probe] = bench.attempts
    if ending == "cancelled":
        tasks[0].cancel()
    elif ending == "connection lost":
        probe.fail(UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "gone"))
    elif ending == "log_unexpected":
        probe.fail(ValueError())
    else:
        await probe.emit([SEGMENT])
        tasks[0].cancel()
    await settled()
    if ending == "cancelled after a segment":
        assert len(bench.attempts) == 4
    else:
        assert len(bench.attempts) == 3
        bench.attempts[2].succeed()
        await settled()
    assert len(bench.attempts) == 4
    for attempt in bench.attempts[2:]:
        if not attempt.answer.done():
            attempt.succeed()
    await gathered(tasks)
    await bench_is_free(bench)


@pytest.mark.parametrize("leaving", [1, 2])
@in_virtual_time
async def test_a_probe_that_is_cancelled_as_its_turn_comes(leaving: int) -> None:
    """A caller that leaves in the moment in which it becomes the probe leaves the probe to the next."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.paced, *[call() for _ in range(4)])
    await settled()
    for task in tasks[:leaving]:  # in the same turn of the loop, after the one that hands out the turns
        asyncio.get_running_loop().call_at(LONGEST_HOLD + 1e-10, task.cancel)
    await asyncio.sleep(LONGEST_HOLD + 1)
    assert [task.cancelled() for task in tasks] == [True] * leaving + [False] * (4 - leaving)
    assert len(bench.attempts) == 2
    bench.upstream.script = OK
    bench.attempts[1].succeed()
    await gathered(tasks)

    assert len(bench.attempts) == 1 + 4 - leaving
    await bench_is_free(bench)


@in_virtual_time
async def test_a_probe_ends_with_its_first_segment() -> None:
    """The others go as soon as the probe passes on a segment, not at the end of a long response."""
    bench = Bench()
    await bench.answered(call(), limited(1e6))
    tasks = start(bench.paced, *[call() for _ in range(3)])
    await asyncio.sleep(LONGEST_HOLD + 1)
    [_, probe] = bench.attempts
    await probe.emit([SEGMENT])
    await settled()
    assert len(bench.attempts) == 4
    assert not tasks[0].done()
    for attempt in bench.attempts[1:]:
        attempt.end()
    await gathered(tasks)
    await bench_is_free(bench)


@in_virtual_time
async def test_guesses() -> None:
    """Without a usable hint the hold is a guess: 1 s, doubled up to 60 s, each ended by one probe."""
    bench = Bench()
    holds: list[float] = []
    await bench.answered(call(), limited())
    for _ in range(9):
        held = now()
        waiting = start(bench.paced, call(), call())
        while len(bench.attempts) < len(holds) + 2:
            await asyncio.sleep(0.01)
        await settled()
        assert len(bench.attempts) == len(holds) + 2
        holds.append(bench.attempts[-1].at - held)
        waiting[1].cancel()
        bench.attempts[-1].fail(limited())
        await gathered(waiting)

    for hold, expected in zip(holds, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert expected <= hold <= expected * 1.2


@in_virtual_time
async def test_a_guess_counts_once_a_hold() -> None:
    """Twenty requests under way that are all refused are one reason to wait longer, not twenty."""
    bench = Bench()
    tasks = start(bench.paced, *[call() for _ in range(20)])
    await asyncio.sleep(0.1)
    for attempt in bench.attempts:
        attempt.fail(limited())
    failures = await gathered(tasks)
    assert all(1 <= failure.retry_delay <= 1.2 for failure in failures)
    bench.upstream.script = OK
    await embedded(bench.paced, call())

    assert 1.1 <= bench.attempts[-1].at <= 1.3


@in_virtual_time
async def test_a_success_ends_the_guessing() -> None:
    """After a success the next guess is 1 s again; what was sent before the hold is no such success."""
    bench = Bench()
    old = start(bench.paced, call(), call())
    await settled()
    await bench.answered(call(), limited())
    await asyncio.sleep(2)
    await bench.answered(call(), limited())
    held = now()
    bench.attempts[0].succeed()
    await asyncio.sleep(3)
    await bench.answered(call(), limited())
    third = now()
    [probe] = start(bench.paced, call())
    await asyncio.sleep(6)
    assert 4 <= bench.attempts[-1].at - third <= 4.8
    bench.attempts[-1].succeed()
    await probe
    await bench.answered(call(), limited())
    held = now()
    bench.upstream.script = OK
    await embedded(bench.paced, call())

    assert 1 <= bench.attempts[-1].at - held <= 1.2
    bench.attempts[1].succeed()
    await gathered(old)


@in_virtual_time
async def test_a_week_of_guesses() -> None:
    """However many guesses in a row were wrong, the next is a minute."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited())
    for _ in range(3000):
        with pytest.raises(UpstreamFailure):
            await embedded(bench.paced, call())

    assert 60 <= bench.attempts[-1].at - bench.attempts[-2].at <= 72


@pytest.mark.parametrize("hint", [0.0, 0.001, 0.1, 1.0, 2.0])
@in_virtual_time
async def test_hints_that_are_too_short(hint: float) -> None:
    """A first hint is obeyed exactly, 0 is 1 s; if that is refused again, one at a time goes, up to 5 s apart."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(hint))

    async def persistent() -> None:
        while now() < 60:
            with pytest.raises(UpstreamFailure):
                await embedded(bench.paced, call())

    await asyncio.gather(*(persistent() for _ in range(64)))
    attempts = [attempt.at for attempt in bench.attempts if attempt.at < 60]
    steps = [after - before for before, after in itertools.pairwise(sorted(set(attempts)))]
    assert (steps[0] == pytest.approx(hint)) if hint else 1 <= steps[0] <= 1.2
    assert all(before <= after * 1.2 for before, after in itertools.pairwise(steps))
    assert 5 <= steps[-1] <= 6
    assert len(attempts) < 2 * 64 + 20


@in_virtual_time
async def test_a_hint_longer_than_the_back_off() -> None:
    """A hint that is longer than the back-off is never shortened or lengthened, however often it is given."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(30))
    for _ in range(6):
        with pytest.raises(UpstreamFailure) as caught:
            await embedded(bench.paced, call())
        assert caught.value.retry_delay == pytest.approx(30)

    assert bench.times == pytest.approx([0, 30, 60, 90, 120, 150])


# --- limits ---


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param([per_minute(60)], id="minute"),
        pytest.param([per_day(40)], id="day"),
        pytest.param([per_minute(30), per_day(40)], id="both"),
    ],
)
@in_virtual_time
async def test_configured_limits(limits: Sequence[RateLimit]) -> None:
    """Before the upstream has to say no: in no window more than any of the limits."""
    bench = Bench(*limits, script=OK)
    await asyncio.gather(*start(bench.paced, *[call() for _ in range(150)]))

    for limit in limits:
        for first in bench.times:
            assert sum(first <= at < first + limit.seconds for at in bench.times) <= limit.amount


@in_virtual_time
async def test_callers_keys_have_plans_of_their_own() -> None:
    """The configured limits are the server's; a caller's own key does not use them up, nor wait for them."""
    bench = Bench(per_minute(1), script=OK)
    await asyncio.gather(*start(bench.paced, *[call(key="a") for _ in range(20)], call()))

    assert set(bench.times) == {0.0}


@in_virtual_time
async def test_fair_by_caller() -> None:
    """One caller that wants fifty times its share leaves the other two theirs."""
    bench = Bench(per_minute(60), script=OK)
    end = 20 * MINUTE

    async def keep_asking(host: str, at_a_time: int) -> None:
        async def one_after_the_other() -> None:
            while True:
                await embedded(bench.paced, call(caller=(host, "1")))

        async with asyncio.TaskGroup() as group:
            for _ in range(at_a_time):
                group.create_task(one_after_the_other())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(end):
            await asyncio.gather(keep_asking("heavy", 50), keep_asking("b", 1), keep_asking("c", 1))
    counts = Counter(attempt.call.caller[0] for attempt in bench.attempts)
    fair = 60 * end / MINUTE / 3

    assert counts["b"] >= 0.95 * fair
    assert counts["c"] >= 0.95 * fair
    for first in bench.times:
        assert sum(first <= at < first + MINUTE for at in bench.times) <= 60


@in_virtual_time
async def test_order_within_a_caller() -> None:
    """Those of one caller go in the order in which they came, also one that has to wait again."""
    bench = Bench(per_minute(6), script=OK)
    wanted = [call() for _ in range(4)]
    await embedded(bench.paced, wanted[0])
    tasks = start(bench.paced, wanted[3], wanted[2], wanted[1])
    await settled()
    tasks += start(bench.paced, wanted[0])
    await asyncio.gather(*tasks)

    assert [attempt.call for attempt in bench.attempts[1:]] == wanted


@pytest.mark.parametrize(
    ("limits", "hold", "binding"),
    [
        pytest.param([per_minute(6)], 0.0, "text requests per minute", id="minute"),
        pytest.param([per_minute(6), per_day(1)], 0.0, "text requests per day", id="day"),
        pytest.param([per_minute(6)], 30.0, "text requests to the upstream", id="the upstream's"),
        pytest.param([], 30.0, "text requests to the upstream", id="the upstream's alone"),
        pytest.param([], 1e6, "text requests to the upstream", id="far too long"),
    ],
)
@in_virtual_time
async def test_what_cannot_fit_fails_at_once(limits: Sequence[RateLimit], hold: float, binding: str) -> None:
    """It is told which limit binds and when it opens; nobody else waits for it."""
    bench = Bench(*limits)
    await bench.answered(call(), hold=hold)
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.paced, call(deadline=5.0))
    failure = caught.value

    assert now() == 0
    assert failure.reason is Reason.RATE_LIMITED
    assert [quota.subject for quota in failure.quotas] == [binding]
    assert binding in failure.message
    assert failure.retry_delay is not None
    available_at = failure.retry_delay
    label = "upstream" if hold else binding
    assert bench.sample("embedwire_rate_limit_rejections_total", limit=label) == 1
    bench.upstream.script = OK
    with pytest.raises(RateLimited):
        await embedded(bench.paced, call(deadline=available_at))
    await embedded(bench.paced, call(deadline=available_at + 0.1))
    assert bench.attempts[-1].at == pytest.approx(available_at)


@in_virtual_time
async def test_what_is_ahead_counts() -> None:
    """Whoever joins a queue that is too long for its deadline is told so; whoever has its turn in time is not."""
    bench = Bench(per_minute(6), script=OK)
    tasks = start(bench.paced, *[call(caller=("a", "1")) for _ in range(13)])
    await settled()
    spacing = (MINUTE + MARGIN) / 6
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.paced, call(caller=("a", "1"), deadline=12 * spacing))
    assert caught.value.retry_delay == pytest.approx(13 * spacing - 2)
    await embedded(bench.paced, call(caller=("b", "1"), deadline=2 * spacing))
    assert now() == pytest.approx(2 * spacing - 2)
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_the_queue_is_seen_behind_a_hold() -> None:
    """Within a hold it is known that those ahead do not all go in the moment in which it ends."""
    bench = Bench(per_minute(6))
    await bench.answered(call(), limited(300))
    tasks = start(bench.paced, *[call() for _ in range(6)])
    await settled()
    bench.upstream.script = OK
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.paced, call(deadline=310))
    last = start(bench.paced, call())
    await asyncio.gather(*tasks, *last)

    assert bench.attempts[-1].at == pytest.approx(caught.value.retry_delay)


@in_virtual_time
async def test_an_expired_call_is_no_matter_of_rates() -> None:
    """What comes too late for anything is refused for that, not for a limit that does not bind."""
    bench = Bench()
    with pytest.raises(DeadlineExceeded):
        await embedded(bench.paced, call(deadline=now()))
    assert not bench.attempts


@in_virtual_time
async def test_who_waits_is_told_of_a_new_hold() -> None:
    """Those who wait already, and cannot go before their deadline now, are refused when that is known."""
    bench = Bench(per_minute(60))
    under_way = start(bench.paced, call(), call())
    await settled()
    short, long = start(bench.paced, call(deadline=20.0), call(deadline=500.0))
    await settled()
    bench.attempts[0].fail(limited(60))
    await settled()

    assert short.done()
    failure = short.exception()
    assert isinstance(failure, RateLimited)
    assert failure.retry_delay == pytest.approx(60)
    assert not long.done()
    bench.upstream.script = OK
    bench.attempts[1].succeed()
    await long
    await gathered(under_way)
    assert bench.attempts[-1].at == pytest.approx(60)
    assert bench.sample("embedwire_rate_limit_queue_length") == 0


# --- waiters that leave ---


@in_virtual_time
async def test_a_cancelled_waiter_leaves_its_turn() -> None:
    """Whoever leaves the queue costs nobody a turn."""
    bench = Bench(per_minute(6), script=OK)
    tasks = start(bench.paced, *[call() for _ in range(5)])
    await settled()
    for task in tasks[1:4]:
        task.cancel()
    await gathered(tasks)
    spacing = (MINUTE + MARGIN) / 6

    assert bench.times == pytest.approx([0, spacing - 2])
    assert bench.sample("embedwire_rate_limit_queue_length") == 0


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_churn(seed: int) -> None:
    """Calls that come, leave, fail and are held at random leave a pace that works, and a queue that is empty."""
    chance = random.Random(seed)
    bench = Bench(per_minute(600))
    replies: list[Exception | None] = [None, None, limited(1), limited(), limited(2 * HOUR), refusal(503)]

    def script(attempt: Attempt) -> None:
        reply = chance.choice(replies)

        def say() -> None:
            if not attempt.answer.done():
                attempt.succeed() if reply is None else attempt.fail(reply)

        asyncio.get_running_loop().call_later(chance.uniform(0, 2), say)

    bench.upstream.script = script
    tasks = []
    for number in range(400):
        tasks += start(bench.paced, call(caller=(str(number % 3), "1"), deadline=now() + chance.choice([10, 1e5])))
        if chance.random() < 0.5:
            asyncio.get_running_loop().call_later(chance.choice([0, 0, 0.1, 5, 3600]), chance.choice(tasks).cancel)
        await asyncio.sleep(chance.choice([0, 0, 0.01, 1, 100]))
    replies[:] = [None]
    await gathered(tasks)
    await asyncio.sleep(LONGEST_HOLD + MINUTE)
    assert bench.upstream.running == 0
    assert bench.sample("embedwire_rate_limit_queue_length") == 0
    await embedded(bench.paced, call())
    await bench_is_free(bench)


@in_virtual_time
async def test_a_turn_comes_in_the_tick_of_a_cancellation() -> None:
    """A turn that comes to somebody who is just leaving does not stop the queue behind it."""
    bench = Bench(per_minute(60), script=OK)
    spacing = (MINUTE + MARGIN) / 60
    tasks = start(bench.paced, *[call() for _ in range(6)])
    asyncio.get_running_loop().call_at(3 * spacing - 2, lambda: [task.cancel() for task in tasks])
    ended = await gathered(tasks)
    for one in ended:
        assert isinstance(one, Embedded | asyncio.CancelledError)
    await embedded(bench.paced, call())

    assert now() <= 10 * spacing
    assert bench.sample("embedwire_rate_limit_queue_length") == 0


# --- many keys ---


@in_virtual_time
async def test_many_keys() -> None:
    """Callers may bring any number of keys; how many are remembered is bounded, the server's own always."""
    bench = Bench(script=OK)
    await embedded(bench.paced, call())
    own = weakref.ref(bench.paces.of(call()))
    for number in range(5000):
        await embedded(bench.paced, call(key=f"k{number}"))
    count = bench.remembered()

    assert count <= policy.MAX_PACES
    assert own() is not None
    bench.paces.of(call(key="k4999"))
    assert bench.remembered() == count


@in_virtual_time
async def test_many_keys_that_wait() -> None:
    """Keys that somebody waits under are not forgotten, however many; later they are."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(60))
    count = policy.MAX_PACES + 10
    await gathered(start(bench.paced, *[call(key=f"k{number}") for number in range(count)]))
    waiting = start(bench.paced, *[call(key=f"k{number}") for number in range(count)])
    await settled()
    bench.upstream.script = OK
    await gathered(start(bench.paced, call(key="new")))
    await gathered(waiting)
    for number in range(50):
        await embedded(bench.paced, call(key=f"later{number}"))

    assert bench.remembered() <= policy.MAX_PACES + 11


@pytest.mark.parametrize("hint", [None, 0.01, 60.0])
@in_virtual_time
async def test_invented_keys(hint: float | None) -> None:
    """A host that brings a new key with each request cannot evade the back-off."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(hint))
    keys = itertools.count()

    async def persistent() -> None:
        while now() < 60:
            with pytest.raises(UpstreamFailure):
                await embedded(bench.paced, call(key=f"k{next(keys)}"))

    await asyncio.gather(*(persistent() for _ in range(64)))

    assert sum(at < 60 for at in bench.times) < 60 * (policy.MAX_HELD_KEYS + 1) + 64
    assert bench.remembered() <= policy.MAX_PACES


@in_virtual_time
async def test_invented_keys_stop_their_host_only() -> None:
    """New keys of other hosts, and keys that were there before, go at once while one host has too many held keys."""
    bench = Bench(script=OK)
    await embedded(bench.paced, call(key="old"))
    bench.upstream.script = lambda attempt: attempt.fail(limited(60))
    await gathered(start(bench.paced, *[call(key=f"k{number}") for number in range(policy.MAX_HELD_KEYS + 1)]))
    bench.upstream.script = OK
    held = start(bench.paced, call(key="new"))
    await gathered(start(bench.paced, call(key="old"), call(), call(key="new too", caller=("other", "1"))))
    assert now() == 0
    await gathered(held)

    assert 1 <= now() <= 1.2  # not the minute that was asked of another key


@in_virtual_time
async def test_a_held_key_is_remembered() -> None:
    """However many other keys come by, a key that the upstream told to wait is not forgotten before the others."""
    bench = Bench()
    await bench.answered(call(key="held"), limited(3600))
    bench.upstream.script = OK
    for number in range(2 * policy.MAX_PACES):
        await embedded(bench.paced, call(key=f"k{number}"))
    [waiting] = start(bench.paced, call(key="held"))
    await settled()
    assert not waiting.done()
    waiting.cancel()
    await gathered([waiting])


@in_virtual_time
async def test_a_forgotten_key_leaves_no_timer() -> None:
    """When the last one who waited has left, nothing of a hold keeps anything alive for an hour."""
    bench = Bench()
    await bench.answered(call(key="a"), limited(3600))
    waiting = start(bench.paced, call(key="a"))
    await settled()
    waiting[0].cancel()
    await gathered(waiting)
    gc.collect()

    loop: object = asyncio.get_running_loop()
    assert [timer for timer in vars(loop)["_scheduled"] if not timer.cancelled()] == []


# --- minutes of media ---


def segment(end: float | None, begin: float = 0.0) -> list[Segment]:
    return [dataclasses.replace(SEGMENT, start_offset_sec=begin, end_offset_sec=end)]


def assert_left(bench: Bench, minutes: float) -> None:
    """So many minutes of audio may go now, and no more."""
    pace = bench.paces.of(audio())
    with pytest.raises(RateLimited):
        pace.try_acquire(Reservation(minutes + 0.01), audio(deadline=now() + 1))
    assert pace.try_acquire(Reservation(minutes - 0.01), audio(deadline=now() + 1))


async def turn_of(pace: RateLimiter, wanted: EmbedCall, minutes: float) -> Reservation:
    """Wait for the turn of a file with so many minutes."""
    turn = Reservation(minutes)
    if not pace.try_acquire(turn, wanted):
        await pace.acquire(turn, wanted)
    return turn


async def test_minutes_of_a_file() -> None:
    """A file's minutes are read from its header before it goes, less what is skipped, and hold the next."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO, script=OK)
    began = now()
    await embedded(bench.paced, audio(6.0))
    await embedded(bench.paced, audio(5.0, offset=120.0))
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.paced, audio(1.5, deadline=began + 60))
    failure = caught.value
    assert failure.retry_delay == pytest.approx(HOUR + MARGIN, abs=10)
    assert [quota.subject for quota in failure.quotas] == ["audio minutes per hour"]
    await embedded(bench.paced, audio(0.9, deadline=began + 60))

    assert len(bench.attempts) == 3


async def test_a_file_that_never_fits() -> None:
    """A file with more minutes than any window holds is refused, with no time at which to come back."""
    bench = Bench(per_hour(3), modality=Modality.AUDIO)
    with pytest.raises(RateLimited) as caught:
        await embedded(bench.paced, audio(3.5))

    assert caught.value.retry_delay is None
    assert "split it" in caught.value.message
    assert not bench.attempts


@pytest.mark.parametrize(
    ("batches", "duration", "offset", "minutes"),
    [
        pytest.param([segment(300.0), segment(600.0, 300.0)], None, None, 10, id="last end"),
        pytest.param([segment(600.0, 300.0), segment(300.0)], None, None, 10, id="any order"),
        pytest.param([[*segment(600.0, 300.0), *segment(300.0)]], None, None, 10, id="together"),
        pytest.param([segment(300.0), segment(600.0, 300.0)], None, 120.0, 8, id="from an offset on"),
        pytest.param([segment(None), segment(None, 540.0)], None, None, 9, id="starts only"),
        pytest.param([[SEGMENT]], 600.0, None, 10, id="duration"),
        pytest.param([[SEGMENT]], None, None, 0, id="nothing known"),
    ],
)
@in_virtual_time
async def test_minutes_behind_a_url(
    batches: list[list[Segment]], duration: float | None, offset: float | None, minutes: float
) -> None:
    """Minutes that only the reply tells are booked then, from the last offset of its segments."""
    summary = ReplySummary("m", media_duration_sec=duration)
    bench = Bench(
        per_hour(20), modality=Modality.AUDIO, script=lambda attempt: attempt.succeed(*batches, summary=summary)
    )
    await embedded(bench.paced, audio(offset=offset))

    assert_left(bench, 20 - minutes)


@in_virtual_time
async def test_urls_wait_for_a_window_that_is_full() -> None:
    """Once the minutes are used up, media of unknown length waits like any other."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO, script=lambda attempt: attempt.succeed(segment(1200.0)))
    await embedded(bench.paced, audio())
    with pytest.raises(RateLimited):
        await embedded(bench.paced, audio(deadline=100.0))
    await embedded(bench.paced, audio())

    assert bench.times == pytest.approx([0, HOUR + MARGIN])


@pytest.mark.parametrize(
    ("batch", "minutes"),
    [
        pytest.param(segment(180.0), 3, id="longer"),
        pytest.param(segment(60.0), 1, id="shorter"),
        pytest.param(segment(None, 54.0), 2, id="when the last segment begins says less"),
        pytest.param(segment(None, 174.0), 2.9, id="when it begins says more"),
        pytest.param([SEGMENT], 2, id="nothing known"),
    ],
)
async def test_a_header_that_was_wrong(batch: list[Segment], minutes: float) -> None:
    """Once the reply tells how long a file of two minutes really was, that is what counts."""
    bench = Bench(per_hour(100), modality=Modality.AUDIO, script=lambda attempt: attempt.succeed(batch))
    await embedded(bench.paced, audio(2.0))

    assert_left(bench, 100 - minutes)


@in_virtual_time
async def test_minutes_that_were_fewer_are_free_at_once() -> None:
    """Whoever waits for minutes that turn out not to be used goes then."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO)
    pace = bench.paces.of(audio())
    turn = await turn_of(pace, call("audio"), 9.0)
    waiting = asyncio.create_task(turn_of(pace, call("audio"), 5.0))
    await asyncio.sleep(10)
    assert not waiting.done()
    pace.reconcile(turn, 5.0)
    await waiting

    assert now() == 10


@in_virtual_time
async def test_minutes_that_are_known_too_late() -> None:
    """What is known when its window has passed does not count any more, in any direction."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO)
    pace = bench.paces.of(audio())
    turns = [await turn_of(pace, call("audio"), 3.0) for _ in range(2)]
    await asyncio.sleep(HOUR + 2)
    later = await turn_of(pace, call("audio"), 10.0)
    for turn, minutes in zip(turns, (0.0, 50.0), strict=True):
        pace.reconcile(turn, minutes)
    with pytest.raises(RateLimited):
        pace.try_acquire(Reservation(0.01), audio(deadline=now() + 1))
    pace.reconcile(later, 4.0)
    await turn_of(pace, call("audio"), 6.0)

    assert now() == HOUR + 2


@in_virtual_time
async def test_a_long_file_ahead_is_seen() -> None:
    """Whoever waits behind a file that has to wait for its minutes is told when that is, not let run out of time."""
    bench = Bench(per_hour(10), modality=Modality.AUDIO, script=OK)
    pace = bench.paces.of(audio())
    await turn_of(pace, call("audio"), 8.0)
    first = asyncio.create_task(turn_of(pace, call("audio"), 9.0))
    await settled()
    with pytest.raises(RateLimited):
        await turn_of(pace, call("audio", deadline=60.0), 1.0)
    await first


@in_virtual_time
async def test_a_limit_is_raised() -> None:
    """Who waits for a limit goes as soon as a higher one allows it; what has gone counts."""
    bench = Bench(per_day(1))
    await bench.answered(call())
    [waiting] = start(bench.paced, call(deadline=2 * DAY))
    await settled()
    assert len(bench.attempts) == 1
    bench.paces.limit({Modality.TEXT: [per_day(2)]})
    await settled()
    assert len(bench.attempts) == 2
    bench.attempts[-1].succeed()
    await waiting
    with pytest.raises(RateLimited, match="at most 2"):
        await embedded(bench.paced, call(deadline=now() + HOUR))


@in_virtual_time
async def test_a_limit_is_lowered_or_gone() -> None:
    """A lower limit refuses who comes next, also a file that waits and never fits it; without one everybody goes."""
    bench = Bench(per_hour(60), modality=Modality.AUDIO)
    await bench.answered(audio(50.0, deadline=DAY))
    [waiting] = start(bench.paced, audio(20.0, deadline=DAY))
    await settled()
    bench.paces.limit({Modality.AUDIO: [per_hour(10)]})
    with pytest.raises(RateLimited, match="split it"):
        await waiting
    bench.paces.limit({})
    await bench.answered(audio(90.0, deadline=DAY))
