"""The fair share of a capacity: what one caller may use and what is left for others."""

import pytest

from embedwire_server.core.fair_share import FairShare
from embedwire_server.core.inputs import Caller

MOST = 900


def fill(share: FairShare, caller: Caller, step: int = 1) -> int:
    """Let a caller use as much as it may; return the amount."""
    taken = 0
    while share.fits(caller, step):
        share.change(caller, step)
        taken += step
    return taken


@pytest.mark.parametrize("step", [1, 7, 50])
def test_a_single_connection_gets_four_fifths(step: int) -> None:
    """One connection may use four fifths of the capacity, to within the size of one piece."""
    assert MOST * 4 // 5 - step <= fill(FairShare(MOST, 0), ("a", "1"), step) <= MOST * 4 // 5 + step


def test_a_host_gets_eight_ninths_however_many_connections_it_opens() -> None:
    """All connections of a host together may use eight ninths."""
    share = FairShare(MOST, 0)
    taken = sum(fill(share, ("a", str(number))) for number in range(50))

    assert MOST * 8 // 9 - 10 <= taken <= MOST * 8 // 9 + 1
    assert fill(share, ("b", "1")) > 0


def test_a_guaranteed_part_is_divided() -> None:
    """A caller gets its part of the guaranteed capacity as soon as it is free, although little is."""
    share = FairShare(MOST, 100)
    fill(share, ("a", "1"))
    fill(share, ("a", "2"))
    free = MOST - share.taken

    assert share.fits(("b", "1"), min(free, 50))
    share.change(("a", "1"), -100)
    assert share.fits(("b", "1"), 50)


def test_released_capacity_leaves_no_state() -> None:
    """A caller that uses nothing is not kept, and the whole capacity is free."""
    share = FairShare(MOST, 0)
    for number in range(100):
        share.change(("a", str(number)), 3)
        assert share.held_by(("a", str(number))) == 3
    for number in range(100):
        share.change(("a", str(number)), -3)

    assert share.is_idle
