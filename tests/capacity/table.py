"""The table of the simulation, in docs/capacity.md."""

from collections.abc import Iterator
from pathlib import Path

from tests.capacity.fleet import Scenario, simulate
from tests.capacity.simulated_redis import Costs

PAGE = Path(__file__).parents[2] / "docs/capacity.md"
BEGIN, END = "<!-- simulated: make capacity -->\n\n", "\n<!-- end of the simulation -->"
# CPU time of redis-server 7.0.15 for an operation, by `python -m tests.capacity.measure`, and what remains of the
# duration of an operation over loopback.
COSTS = Costs(lease=136e-6, settle=89e-6, report=70e-6, round_trip=110e-6)
# The same when 1,000 servers have reported usage, after a loss of the data of Redis.
AFTER_LOSS = Costs(lease=784e-6, settle=793e-6, report=54e-6, round_trip=110e-6)
COLUMNS = (
    "plan, requests a minute",
    "replicas",
    "inputs/s of each",
    "Redis operations/s",
    "of these, reports",
    "thread of Redis",
    "operation, p99",
    "longer than 50 ms",
)
SCENARIOS = (
    Scenario(replicas=10, per_minute=6_000, demand=0.9, warm_up=10, seconds=30),
    Scenario(replicas=100, per_minute=6_000, demand=0.9, warm_up=10, seconds=30),
    Scenario(replicas=1000, per_minute=6_000, demand=0.9, warm_up=4, seconds=10),
    Scenario(replicas=10, per_minute=60_000, demand=0.9, warm_up=4, seconds=10),
    Scenario(replicas=100, per_minute=60_000, demand=0.9, warm_up=4, seconds=10),
    Scenario(replicas=1000, per_minute=60_000, demand=0.9, warm_up=4, seconds=10),
)


RUNS: tuple[tuple[Scenario, Costs, str], ...] = (
    *((scenario, COSTS, f"{scenario.replicas:,}") for scenario in SCENARIOS),
    (SCENARIOS[-1], AFTER_LOSS, f"{SCENARIOS[-1].replicas:,} after a loss of data"),
)


def rows() -> Iterator[str]:
    """Simulate all scenarios, and yield the rows of the table."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for run in RUNS:
        yield row(*run)


def row(scenario: Scenario, costs: Costs, replicas: str) -> str:
    """Simulate a scenario, and return its row."""
    outcome = simulate(scenario, costs)
    redis = outcome.redis
    cells = (
        f"{scenario.per_minute:,}",
        replicas,
        f"{scenario.demand * scenario.per_minute / 60 / scenario.replicas:g}",
        f"{redis.operations / scenario.seconds:,.0f}",
        f"{redis.reports / scenario.seconds:,.0f}",
        f"{redis.busy_seconds / scenario.seconds * 100:.1f} %",
        f"{outcome.delay(0.99) * 1e3:.2f} ms",
        f"{redis.failures / redis.operations * 100:.1f} %",
    )
    return f"| {' | '.join(cells)} |"


def of_page() -> list[str]:
    """Return the rows that the page has."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()


def write(lines: list[str]) -> None:
    """Replace the rows of the page."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{begin}{chr(10).join(lines)}\n{END}{rest.partition(END)[2]}")
