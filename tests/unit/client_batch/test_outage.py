"""The outage detection, with a clock of the test."""

import pytest

from embedwire import Text
from embedwire.batch.outage import OpenInput, Outage, backoff
from embedwire.batch.records import Record


def item() -> OpenInput:
    return OpenInput(Record("key", Text("a"), 1, "1"))


def sent(outage: Outage, count: int, now: float = 0.0) -> list[OpenInput]:
    items = [item() for _ in range(count)]
    for each in items:
        outage.sent(each, now)
    return items


def fail(outage: Outage, items: list[OpenInput], now: float = 0.0, *, reached: bool = True) -> None:
    for each in items:
        outage.failed(each, now, has_reached_server=reached)


def test_single_failures_are_no_outage() -> None:
    """Seven inputs that keep failing do not pause the others, and use up their attempts."""
    outage = Outage()
    items = sent(outage, 7)
    for _ in range(5):
        fail(outage, items)
    assert not outage.is_on
    assert outage.sends_at <= 0
    assert {each.attempts for each in items} == {5}


def test_pauses_grow_until_a_success() -> None:
    """In an outage one input is sent after each pause, 0.5 to 30 s; the first success ends it."""
    outage = Outage()
    fail(outage, sent(outage, 8), 10.0)
    assert outage.is_on
    pauses, now = [outage.sends_at - 10.0], outage.sends_at
    for _ in range(8):
        (test,) = sent(outage, 1, now)
        pauses.append(outage.sends_at - now)
        fail(outage, [test], now + 0.1)
        now = outage.sends_at
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert outage.seconds(now) == now - 10

    outage.succeeded()
    assert not outage.is_on
    assert outage.sends_at < 0
    assert outage.seconds(now) == 0


def test_failures_in_an_outage_do_not_count() -> None:
    """The tests of an outage use up no attempts of their inputs."""
    outage = Outage()
    fail(outage, sent(outage, 8))
    (test,) = sent(outage, 1, 1.0)
    for _ in range(20):
        fail(outage, [test], 2.0)
    assert (test.attempts, test.failures) == (0, 20)


def test_an_unreachable_server_counts_only_for_single_inputs() -> None:
    """Without the server no attempt is used up, unless others were embedded since the input was sent."""
    outage = Outage()
    (alone,) = sent(outage, 1)
    fail(outage, [alone], reached=False)
    assert alone.attempts == 0
    outage.sent(alone, 1.0)
    outage.succeeded()
    fail(outage, [alone], 2.0, reached=False)
    assert alone.attempts == 1


def test_rejected_content_shows_that_the_upstream_works() -> None:
    """An input that the upstream rejects ends an outage, and is not counted as embedded."""
    outage = Outage()
    fail(outage, sent(outage, 8))
    outage.reached()
    assert (outage.is_on, outage.embedded) == (False, 0)


@pytest.mark.parametrize(
    ("failures", "delay", "least", "most"),
    [(1, None, 0.5, 1), (3, None, 2, 4), (100, None, 30, 60), (1, 20.0, 20, 20), (1, 1e9, 3600, 3600)],
)
def test_backoff(failures: int, delay: float | None, least: float, most: float) -> None:
    """The delay doubles with each failure, up to a minute; a longer one of the server is obeyed, up to an hour."""
    waiting = item()
    waiting.failures = failures
    assert all(least <= backoff(waiting, delay) <= most for _ in range(100))
