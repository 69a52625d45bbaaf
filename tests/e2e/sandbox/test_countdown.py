"""Processing time of tasks and assets."""

from embedwire_sandbox.countdown import Countdown


def test_polls() -> None:
    """It ends once the polls are used up; the next poll finds the end."""
    countdown = Countdown(2, 0.0)
    assert [countdown.has_ended, countdown.poll(), countdown.poll()] == [False, False, False]
    assert [countdown.has_ended, countdown.poll()] == [True, True]


def test_seconds() -> None:
    """It does not end before its time, whatever the number of polls is."""
    countdown = Countdown(0, 1_000.0)
    assert [countdown.poll(), countdown.poll(), countdown.has_ended] == [False, False, False]
