"""The journal of the upstream: requests in sliding windows."""

import random
from collections.abc import Sequence

import pytest

from tests.system.journal import Journal


def journal(times: Sequence[float]) -> Journal:
    filled = Journal()
    for at in times:
        filled.add(at, 0, "a", "text")
    return filled


@pytest.mark.parametrize(
    ("times", "most"),
    [
        ([], 0),
        ([7.0], 1),
        ([0.0, 59.999], 2),
        ([0.0, 60.0], 1),
        ([0.0, 30.0, 60.0, 89.0], 3),
        ([0.0, *[59.0] * 5, *[61.0] * 4, 119.5], 9),
        ([100.0, 0.0, 50.0, 99.0], 3),
    ],
    ids=["none", "one", "within", "a window is half-open", "overlapping", "over a boundary", "in any order"],
)
def test_the_most_in_any_window(times: Sequence[float], most: int) -> None:
    """All windows count, not only those of whole minutes."""
    assert journal(times).most_within(60) == most


def test_windows_that_begin_later() -> None:
    """Requests before a time are not counted."""
    assert journal([0.0, 1.0, 2.0, 30.0, 61.0]).most_within(60, since=1.5) == 3


def test_as_many_as_by_comparing_all_pairs() -> None:
    """The result is the same as that of the plain definition, for random times."""
    numbers = random.Random(4)
    times = [numbers.uniform(0, 300) for _ in range(400)]

    most = max(sum(start <= at < start + 60 for at in times) for start in times)

    assert journal(times).most_within(60) == most
