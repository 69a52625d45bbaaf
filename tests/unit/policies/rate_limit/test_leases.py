"""The permits that a server holds, and the size of leases."""

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.policies.rate_limit.leases import MAX_PERMITS, LeasePool, RecentUse, most_permits
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.store import LEASE_SECONDS, Demand, Lease
from tests.unit.policies.rate_limit.support import MINUTE, per_day, per_hour
from tests.unit.policies.rate_limit.test_shared_quota import per_minute


def lease(permits: int, at: float, minutes: float = 0.0, limit: RateLimit | None = None) -> Lease:
    demand = Demand(Modality.TEXT, (), permits, minutes, at)
    return Lease(demand, permits, at, at + LEASE_SECONDS, limit)


def pool(*leases: Lease) -> LeasePool:
    found = LeasePool()
    for one in leases:
        found.add(one, one.permits)
    return found


def test_permits_have_a_time() -> None:
    """A permit is usable from its time on, for half a second."""
    held = pool(lease(2, 10.0))
    assert [held.usable(at) for at in (9.9, 10.0, 10.5, 10.6)] == [0, 2, 2, 0]
    assert held.take(9.9, 0.0) is None
    assert held.take(10.6, 0.0) is None
    assert held.take(10.0, 0.0) is not None
    assert held.usable(10.0) == 1


def test_next_permits() -> None:
    """The earliest permits for a later time count, and their limit."""
    held = pool(lease(1, 30.0), lease(1, 20.0, limit=per_day(3)), lease(1, 5.0))
    assert held.next_at(10.0, 0.0) == (20.0, per_day(3))
    assert held.next_at(30.0, 0.0) is None


def test_minutes() -> None:
    """A permit for fewer minutes than needed is not used."""
    held = pool(lease(1, 0.0, minutes=3.0), lease(1, 0.0, minutes=6.0))
    taken = held.take(0.0, 5.0)
    assert taken is not None
    assert taken.demand.minutes == 6.0
    assert held.usable(0.0, 5.0) == 0
    assert held.usable(0.0, 3.0) == 1


def test_removed_permits() -> None:
    """Expired permits, those for a later time, and all can be removed; each is returned once."""
    held = pool(lease(3, 0.0), lease(2, 10.0), lease(1, 60.0))
    held.take(0.0, 0.0)
    assert [one.left for one in held.remove_expired(9.0)] == [2]
    assert [one.left for one in held.remove_later(10.0)] == [1]
    assert [one.left for one in held.remove_all()] == [2]
    assert held.remove_all() == []


def test_recent_use() -> None:
    """Use counts for a quarter to half a second; it is forgotten after a pause."""
    recent = RecentUse()
    for at in (0.0, 0.1, 0.3):
        recent.add(at)
    assert recent.count(0.4) == 3
    assert recent.count(0.6) == 1
    recent.add(100.0)
    assert recent.count(100.0) == 1


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        pytest.param([], MAX_PERMITS, id="no limit"),
        pytest.param([per_minute(600)], 5, id="half a second"),
        pytest.param([per_minute(6)], 1, id="at least one"),
        pytest.param([per_minute(10**6)], MAX_PERMITS, id="large limit"),
        pytest.param([per_day(10**6)], MAX_PERMITS, id="a day is not spread"),
        pytest.param([per_day(10)], 10, id="all of a day"),
        pytest.param([per_minute(600), per_day(3)], 3, id="both"),
        pytest.param([per_hour(3)], MAX_PERMITS, id="minutes of media"),
        pytest.param([RateLimit("a", 10, MINUTE, is_spread=False), per_day(10**6)], 10, id="not spread"),
    ],
)
def test_size_of_a_lease(limits: list[RateLimit], most: int) -> None:
    """A lease has at most what the limits allow in half a second."""
    assert most_permits(limits, 1) == most


def test_a_lease_is_within_the_part_of_one_server() -> None:
    """A lease has at most one server's part of a limit that is not spread, and at least one permit."""
    assert [most_permits([per_day(10)], shares) for shares in (1, 4, 20)] == [10, 2, 1]
