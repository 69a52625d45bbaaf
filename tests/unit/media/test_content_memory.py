"""Memory for content: shares of requests and uploads."""

import pytest

from embedwire_server.core.inputs import Caller
from embedwire_server.media.memory_budget import ContentMemory

MIB = 1 << 20
HEAVY, OTHER = ("a", "1"), ("b", "1")


def fill_requests(memory: ContentMemory, caller: Caller, size: int) -> int:
    """Reserve memory for requests of this size until one is refused; return the bytes."""
    taken = 0
    while memory.fits_request(caller, size):
        memory.hold_request(caller, size)
        taken += size
    return taken


@pytest.mark.parametrize("size", [MIB, 5 * MIB, 16 * MIB])
def test_requests_of_one_caller_leave_memory(size: int) -> None:
    """A caller that fills its share leaves memory for a request of the same size by another caller."""
    memory = ContentMemory(256 * MIB)
    assert fill_requests(memory, HEAVY, size) <= 205 * MIB + size
    assert memory.fits_request(OTHER, size)


def test_uploads_leave_memory_for_requests() -> None:
    """Uploads use at most half of the memory; a text and the largest message always fit."""
    memory = ContentMemory(256 * MIB)
    for number in range(100):
        account = memory.account(("a", str(number)))
        while account.hold(MIB):
            pass
        account.release(MIB)
    assert memory.taken <= 128 * MIB
    assert memory.fits_request(OTHER, 16 * MIB)
    assert memory.fits_request(HEAVY, 100)
    assert memory.account(OTHER).hold(MIB)


def test_uploads_and_requests_share_the_limit() -> None:
    """Uploads and requests together stay within the limit; an upload beyond it must spool to disk."""
    memory = ContentMemory(10 * MIB)
    memory.hold_request(HEAVY, 9 * MIB)
    account = memory.account(OTHER)
    assert account.hold(MIB // 2)
    assert not account.hold(MIB)
    account.release(MIB + MIB // 2)
    assert memory.taken == 9 * MIB


@pytest.mark.parametrize("size", [1, 64 << 10, (64 << 10) + 1, 20 * MIB])
def test_requests_are_released(size: int) -> None:
    """A request of any size releases all of its memory, and fits if it is the only one."""
    memory = ContentMemory(10 * MIB)
    charged = memory.size_of(size)
    for _ in range(3):
        assert memory.fits_request(HEAVY, charged)
        memory.hold_request(HEAVY, charged)
        assert memory.taken == charged
        memory.hold_request(HEAVY, charged, -1)
    assert memory.taken == 0


def test_texts_are_not_counted_by_caller() -> None:
    """A text of a connection whose files fill its share is accepted."""
    memory = ContentMemory(256 * MIB)
    fill_requests(memory, HEAVY, MIB)
    assert not memory.fits_request(HEAVY, MIB)
    assert memory.fits_request(HEAVY, 64 << 10)
