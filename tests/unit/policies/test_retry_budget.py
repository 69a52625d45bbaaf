"""The number of retries at different failure rates."""

import random

import pytest

from embedwire_server.policies.retry_budget import RESERVE, RetryBudget

CALLS = 100_000
ATTEMPTS = 3


class Simulation:
    """A sequence of calls with up to three attempts each, each attempt failing at random."""

    def __init__(self, share: float, seed: int = 1) -> None:
        self.budget = RetryBudget(share, ATTEMPTS)
        self._random = random.Random(seed)
        self.requests = 0

    def run(self, calls: int, failing: float) -> int:
        """Make this many calls; return the number of successes."""
        return sum(self._call(failing) for _ in range(calls))

    def _call(self, failing: float) -> bool:
        self.budget.deposit()
        for attempt in range(ATTEMPTS):
            self.requests += 1
            success = self._random.random() >= failing
            self.budget.record_outcome(success=success)
            if success or attempt == ATTEMPTS - 1 or not self.budget.try_withdraw():
                return success
        raise AssertionError


@pytest.mark.parametrize(
    ("failing", "requests", "succeeded"),
    [
        pytest.param(0.0, 1.0, 1.0, id="0 %"),
        pytest.param(0.05, 1.052, 0.9999, id="5 %"),
        pytest.param(0.1, 1.110, 0.9989, id="10 %"),
        pytest.param(0.2, 1.200, 0.9586, id="20 %"),
        pytest.param(0.3, 1.200, 0.8400, id="30 %"),
    ],
)
def test_share_of_one_fifth(failing: float, requests: float, succeeded: float) -> None:
    """While most attempts succeed, a share of 0.2 covers random failures and is the upper limit of retries."""
    simulation = Simulation(0.2)

    assert simulation.run(CALLS, failing) / CALLS == pytest.approx(succeeded, abs=0.004)
    assert simulation.requests / CALLS == pytest.approx(requests, abs=0.004)
    assert simulation.requests <= CALLS * 1.2 + RESERVE


def test_every_other_attempt_fails() -> None:
    """At a failure rate of one half there are some retries, and at most the share."""
    simulation = Simulation(0.2)

    assert 0.5 <= simulation.run(CALLS, 0.5) / CALLS <= 0.6
    assert 1.0 < simulation.requests / CALLS <= 1.2


@pytest.mark.parametrize("failing", [0.7, 1.0])
def test_outage(failing: float) -> None:
    """While most attempts fail, retries come from the saved balance only."""
    simulation = Simulation(0.2)
    simulation.run(CALLS, failing)

    assert simulation.requests - CALLS <= RESERVE + 0.2 * 60
    assert simulation.budget.left < 1


def test_outage_without_savings() -> None:
    """In a total outage there are the reserve and the deposits of some 35 attempts."""
    simulation = Simulation(0.2)
    simulation.run(1000, 1.0)

    assert RESERVE <= simulation.requests - 1000 <= RESERVE + 0.2 * 35


def test_after_an_outage() -> None:
    """Retries resume within a hundred calls after the upstream recovers."""
    simulation = Simulation(0.2)
    simulation.run(10_000, 1.0)
    assert not simulation.budget.try_withdraw()
    simulation.run(100, 0.0)

    assert simulation.budget.try_withdraw()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 1.0])
def test_no_more_than_the_share(share: float) -> None:
    """At any failure rate, requests are at most (1 + share) per call plus the reserve."""
    for percent in range(0, 101, 10):
        simulation = Simulation(share, seed=percent)
        simulation.run(5_000, percent / 100)
        assert simulation.requests <= 5_000 * (1 + share) + RESERVE


def test_no_share() -> None:
    """A share of 0 allows no retry, not even from the reserve."""
    simulation = Simulation(0.0)

    assert simulation.run(1000, 0.3) < 800
    assert simulation.requests == 1000


def test_quiet_times_save_no_more_than_the_reserve() -> None:
    """A long time of successes does not raise the balance above the reserve."""
    simulation = Simulation(0.2)
    simulation.run(10_000, 0.0)

    assert simulation.budget.left == RESERVE
