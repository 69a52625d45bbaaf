"""The row of several workers: two compared with one, and the limit by the kernel's assignment of connections."""

import statistics
from fractions import Fraction
from math import factorial

from benchmarks import requests
from benchmarks.gateway import Start
from benchmarks.processes import BOTH_CORES
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from benchmarks.subjects import Embedding, lasting

CONNECTIONS, CALLS_EACH = 16, 4
ASSIGNMENTS = 20


def expected_speedup(connections: int, workers: int) -> float:
    """Return the mean of connections ÷ (connections of the busiest worker), each on a random worker.

    This is the mean speedup of several workers if all connections have the same load. Callers that
    always have calls in flight, as in this row, exceed it: those on less busy workers make more calls.
    """
    at_most = [_assignments(connections, workers, most) for most in range(connections + 1)]
    means = (Fraction(connections, most) * (at_most[most] - at_most[most - 1]) for most in range(1, connections + 1))
    return float(sum(means) / Fraction(workers) ** connections)


def _assignments(connections: int, workers: int, most: int) -> Fraction:
    """Return the number of assignments with at most this many connections per worker."""
    ways = [Fraction(1), *[Fraction(0)] * connections]  # by connections, as coefficients of x^n / n!
    for _ in range(workers):
        ways = [
            sum((ways[total - own] / factorial(own) for own in range(min(most, total) + 1)), Fraction(0))
            for total in range(connections + 1)
        ]
    return ways[connections] * factorial(connections)


@row(8, "workers", Bound(f"two workers ÷ one (at random {expected_speedup(CONNECTIONS, 2):.2f})", 1.4, 1.8))
async def workers(stage: Stage) -> Measured:
    """Two workers ÷ one, 16 client connections; on two cores both share them with the load and the upstream."""
    two_workers = Start(cores=BOTH_CORES)
    async with stage.gateway("text") as one, stage.gateway("text", two_workers, workers=2) as two:
        subjects = {
            name: lasting(await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH))
            for name, server in {"two workers": two, "one worker": one}.items()
        }
        found = await stage.compare(subjects)
        assigned = [await assignment(subjects["two workers"]) for _ in range(ASSIGNMENTS)]
    note = (
        f"{CONNECTIONS} connections ÷ those of the busier worker: mean of {ASSIGNMENTS} assignments "
        f"{statistics.fmean(assigned):.2f}, expected {expected_speedup(CONNECTIONS, 2):.2f}"
    )
    return Measured([found.ratios("two workers", "one worker")], [*found.notes(), note])


async def assignment(subject: Embedding) -> float:
    """Connections ÷ those of the busiest worker, by a burst of new connections that make equally many calls."""
    assert subject.gateway is not None
    before = await subject.gateway.good_calls_by_worker()
    await subject.burst(subject.load.in_flight)
    after = await subject.gateway.good_calls_by_worker()
    calls = [later - earlier for earlier, later in zip(before, after, strict=True)]
    return sum(calls) / max(calls)
