"""Recent calls: periods, order, bounds."""

import pytest

from embedwire_server.core.totals import Totals
from embedwire_server.observability.recent_calls import MAX_FAILURES, RecentCalls


class Bench:
    """Recent calls with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.recent = RecentCalls(lambda: self.now)

    def add(self, reason: str = "OK", request_id: str = "a") -> None:
        self.recent.add(Ended(reason, request_id), "CreateEmbedding", "SOME_CODE", 0.5)


class Ended:
    """The context of a call that has ended."""

    def __init__(self, reason: str, request_id: str) -> None:
        self.reason, self.request_id, self.model = reason, request_id, "marengo3.0"
        self.totals = Totals(upstream_trace_id="trace")


@pytest.mark.parametrize(
    ("age", "counts"),
    [(0, [1, 1, 1]), (59, [1, 1, 1]), (75, [0, 1, 1]), (299, [0, 1, 1]), (315, [0, 0, 1]), (899, [0, 0, 1])],
)
def test_a_call_counts_in_the_periods_that_include_it(age: float, counts: list[int]) -> None:
    """A call counts in each period for as long as that lasts, and at most one interval longer."""
    bench = Bench()
    bench.add()
    bench.now += age
    assert bench.recent.by_reason() == {"OK": counts}


def test_old_calls_are_forgotten() -> None:
    """Calls before the longest period do not count, and the memory for counts is bounded."""
    bench = Bench()
    for _ in range(1000):
        bench.add()
        bench.now += 10
    assert bench.recent.by_reason()["OK"][2] <= 91
    bench.now += 915
    assert bench.recent.by_reason() == {}


def test_order_of_reasons() -> None:
    """OK is the first, then the most frequent reason."""
    bench = Bench()
    for reason in ["DRAINING", "OVERLOADED", "OK", "OVERLOADED"]:
        bench.add(reason)
    assert list(bench.recent.by_reason()) == ["OK", "OVERLOADED", "DRAINING"]


def test_failures() -> None:
    """The latest failures are kept, the newest first; calls that succeeded are not among them."""
    bench = Bench()
    for number in range(MAX_FAILURES + 10):
        bench.add("OVERLOADED", f"id-{number}")
        bench.add()
    failures = bench.recent.failures
    assert [failure.request_id for failure in failures[:2]] == ["id-59", "id-58"]
    assert len(failures) == MAX_FAILURES
    newest = failures[0]
    assert (newest.method, newest.model, newest.reason) == ("CreateEmbedding", "marengo3.0", "OVERLOADED")
    assert (newest.code, newest.seconds, newest.trace_id) == ("SOME_CODE", 0.5, "trace")
