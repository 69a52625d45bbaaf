"""Rate limits as sliding windows."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedwire_server.policies.rate_limit.sliding_window import RateLimit, SlidingWindow, Usage

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MARGIN = 1.0  # documented allowance for the time that a request is in transit
PARTS = 64  # usage may count longer than its window by one part
Booking = tuple[float, float]


def limit(amount: int, seconds: float = MINUTE, *, is_media: bool = False) -> RateLimit:
    return RateLimit("requests per minute", amount, seconds, is_media)


def go(window: SlidingWindow, now: float, amount: float = 1.0) -> float:
    """Record this amount as soon as it is allowed; return the time."""
    at = window.available_at(now, amount)
    assert at >= now
    assert window.available_at(at, amount) == at, "it says later what it did not say before"
    window.consume(at, amount)
    return at


def run(window: SlidingWindow, steps: Sequence[tuple[float, float]]) -> list[Booking]:
    """Record amounts in sequence, each some seconds after the one before; return the time of each."""
    now, gone = 0.0, []
    for pause, amount in steps:
        now = go(window, now + pause, amount)
        gone.append((now, amount))
    return gone


def most(gone: Sequence[Booking], seconds: float) -> float:
    """Return the largest usage in any window of that length, wherever it begins."""
    return max(sum(amount for at, amount in gone if start <= at < start + seconds) for start, _ in gone)


PAUSES = st.one_of(st.just(0.0), st.floats(0, 5), st.floats(0, 200), st.sampled_from([1.0, 59.0, 60.0, 60.5, 61.0]))


@given(st.integers(1, 12), st.sampled_from([MINUTE, HOUR]), st.lists(PAUSES, min_size=1, max_size=60))
@example(1, MINUTE, [0.1] * 10)
def test_never_more_than_the_limit(amount: int, seconds: float, pauses: list[float]) -> None:
    """No window exceeds the limit for any sequence of requests, not even one longer by the margin."""
    gone = run(SlidingWindow(limit(amount, seconds)), [(pause, 1.0) for pause in pauses])

    assert most(gone, seconds + MARGIN) <= amount


@given(st.integers(1, 30), st.lists(st.tuples(PAUSES, st.floats(0, 1)), min_size=1, max_size=60))
def test_never_more_minutes_than_the_limit(amount: int, steps: list[tuple[float, float]]) -> None:
    """Fractions of minutes are summed without accumulated rounding errors."""
    window = SlidingWindow(limit(amount, HOUR, is_media=True))
    gone = run(window, [(pause, share * amount) for pause, share in steps])

    assert most(gone, HOUR + MARGIN) <= amount + 1e-9


@given(st.integers(1, 12), st.lists(st.tuples(PAUSES, st.integers(1, 12)), min_size=1, max_size=40))
def test_no_later_than_needed(amount: int, steps: list[tuple[float, int]]) -> None:
    """A limit that is not spread allows a request when the window has capacity, or one part of the window later."""
    window = SlidingWindow(limit(amount, HOUR, is_media=True))
    now, gone = 0.0, list[Booking]()
    for pause, wanted in steps:
        now += pause
        wanted = min(wanted, amount)  # noqa: PLW2901 - cut to fit
        moments = [now, *(at + HOUR + MARGIN for at, _ in gone if at + HOUR + MARGIN > now)]
        needed = min(
            moment
            for moment in moments
            if sum(size for at, size in gone if at + HOUR + MARGIN > moment) + wanted <= amount
        )
        now = go(window, now, wanted)
        assert needed <= now <= needed + HOUR / PARTS
        gone.append((now, wanted))


@pytest.mark.parametrize("amount", [1, 2, 7, 60, 600])
def test_a_backlog_goes_at_full_rate(amount: int) -> None:
    """A permanent backlog uses the whole limit in each window, except for the margin and one part."""
    gone = run(SlidingWindow(limit(amount)), [(0.0, 1.0)] * (5 * amount))

    assert gone[-1][0] <= 5 * (MINUTE + MARGIN + MINUTE / PARTS) + 1e-6


@pytest.mark.parametrize(("amount", "burst"), [(1, 1), (6, 1), (30, 1), (60, 2), (120, 4), (600, 20), (6000, 197)])
def test_a_minute_is_spread(amount: int, burst: int) -> None:
    """A limit per minute allows a burst of about two seconds' worth, then one request at a time, evenly."""
    window = SlidingWindow(limit(amount))
    at_once = 0
    while window.available_at(0.0, 1.0) == 0.0:
        window.consume(0.0, 1.0)
        at_once += 1
    gone = [at for at, _ in run(window, [(0.0, 1.0)] * (amount - at_once))]

    assert at_once == burst
    for before, after in itertools.pairwise(gone):
        assert after - before == pytest.approx((MINUTE + MARGIN) / amount)


@pytest.mark.parametrize(
    "unspread",
    [
        pytest.param(limit(50, DAY), id="a day"),
        pytest.param(limit(50, HOUR), id="an hour"),
        pytest.param(limit(50, HOUR, is_media=True), id="minutes of media in an hour"),
        pytest.param(limit(50, DAY, is_media=True), id="minutes of media in a day"),
    ],
)
def test_longer_windows_are_not_spread(unspread: RateLimit) -> None:
    """The whole limit of a day may be used in one moment."""
    window = SlidingWindow(unspread)

    assert run(window, [(0.0, 1.0)] * 50)[-1][0] == 0.0
    assert window.available_at(0.0, 1.0) == unspread.seconds + MARGIN


def test_amount_larger_than_the_limit() -> None:
    """An amount above the limit is never allowed; exactly the limit is, when the window is empty."""
    window = SlidingWindow(limit(600, HOUR, is_media=True))
    window.consume(0.0, 0.5)

    assert window.available_at(10.0, 600.1) == math.inf
    assert window.available_at(10.0, 600.0) == HOUR + MARGIN
    assert window.available_at(10.0, 599.5) == 10.0


def test_usage_corrected_above_the_limit() -> None:
    """Usage corrected to more than the limit delays requests until the window has capacity again."""
    window = SlidingWindow(limit(10, HOUR, is_media=True))
    window.consume(0.0, 4.0)
    window.consume(100.0, 50.0)

    assert window.available_at(200.0, 1.0) == 100 + HOUR + MARGIN
    assert window.available_at(200.0, 0.0) == 100 + HOUR + MARGIN


def test_unknown_minutes_wait_for_a_full_window() -> None:
    """Media of unknown length waits while the window has no capacity."""
    window = SlidingWindow(limit(10, HOUR, is_media=True))
    assert window.available_at(0.0, 0.0) == 0.0
    window.consume(0.0, 10.0)

    assert window.available_at(200.0, 0.0) == HOUR + MARGIN


@given(
    st.integers(1, 12),
    st.sampled_from([MINUTE, DAY]),
    st.lists(PAUSES, max_size=30),
    st.floats(0, 100),
    st.integers(0, 40),
)
def test_usage_ahead(amount: int, seconds: float, history: list[float], pause: float, ahead: int) -> None:
    """The time of a request behind others is predicted to within one part for each window until then."""
    window = SlidingWindow(limit(amount, seconds))
    gone = run(window, [(before, 1.0) for before in history])
    now = (gone[-1][0] if gone else 0.0) + pause
    predicted = window.available_at(now, 1.0, ahead)
    really = run(window, [(now, 1.0), *[(0.0, 1.0)] * ahead])[-1][0]

    later = (1 + ahead // amount) * seconds / PARTS
    assert predicted - 1e-6 <= really <= predicted + later + 1e-6


def test_a_window_has_a_bounded_size() -> None:
    """Expired usage is dropped, and usage close together is merged into one entry."""
    window = SlidingWindow(limit(1_000_000, DAY))
    kept: set[Usage] = set()
    for number in range(200_000):
        kept.add(window.consume(number, 1.0))
        window.available_at(number, 1.0)

    assert sum(usage.at > -math.inf for usage in kept) <= PARTS + 2


def test_few_requests_are_exact() -> None:
    """Usage further apart than a part of the window expires at its own time."""
    window = SlidingWindow(limit(3, HOUR, is_media=True))
    for at in (0.0, 100.0, 200.0):
        window.consume(at, 1.0)

    assert window.available_at(300.0, 1.0) == HOUR + MARGIN
    assert window.available_at(300.0, 2.0) == 100.0 + HOUR + MARGIN


def test_remaining() -> None:
    """What remains is the limit without the usage of the window; it is 0 after the limit was lowered below that."""
    window = SlidingWindow(limit(10))
    for at in (0.0, 30.0, 30.0):
        window.consume(at, 2.0)

    assert [window.usage(now).remaining for now in (30.0, MINUTE + MARGIN, 2 * MINUTE)] == [4, 6, 10]
    window.set_limit(limit(3))
    assert window.usage(30.0).remaining == 0
