"""The order of the fair queue."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.policies.fair_queue import FairQueue

Path = tuple[str, str]
PATHS = st.tuples(st.sampled_from("abc"), st.sampled_from("123"))


def filled(*paths: str) -> FairQueue[int]:
    """Return a queue of items numbered from 0, each pushed by a caller like `a1`."""
    queue: FairQueue[int] = FairQueue()
    for number, path in enumerate(paths):
        queue.push(tuple(path), number, number)
    return queue


def drained(queue: FairQueue[int]) -> list[int]:
    return [queue.pop() for _ in range(len(queue))]


@pytest.mark.parametrize(
    ("pushed", "popped"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("a1 a1 a1", [0, 1, 2], id="one caller: first come, first served"),
        pytest.param("a1 a1 a1 b1", [0, 3, 1, 2], id="a new caller comes after one of each"),
        pytest.param("a1 a1 b1 b1 c1", [0, 2, 4, 1, 3], id="hosts in rotation"),
        pytest.param("a1 a1 a2 b1 b1", [0, 3, 2, 4, 1], id="connections within the share of their host"),
        pytest.param("a1 a2 a3 a4 b1 b1", [0, 4, 1, 5, 2, 3], id="more connections, no larger share"),
    ],
)
def test_order(pushed: str, popped: list[int]) -> None:
    """The order is round-robin over hosts, then over connections of a host, then by arrival."""
    queue = filled(*pushed.split())

    assert list(queue) == popped
    assert drained(queue) == popped


def test_order_of_a_repeated_item() -> None:
    """Among the items of one caller the lowest `order` comes first, whenever it was pushed."""
    queue = filled("a1", "a1", "a1")
    first = queue.pop()
    queue.push(("a", "1"), first, first)

    assert drained(queue) == [0, 1, 2]


def test_a_host_that_was_served_is_last() -> None:
    """An item pushed by a host that was just served comes after those of hosts that wait."""
    queue = filled("a1", "b1", "c1")
    assert queue.pop() == 0
    queue.push(("a", "1"), 3, 3)

    assert drained(queue) == [1, 2, 3]


@given(st.lists(st.one_of(PATHS, st.just("pop"), st.integers(0, 20)), max_size=40), PATHS, st.integers(-1, 40))
def test_position(history: list[Path | str | int], path: Path, order: int) -> None:
    """`position` is the number of items popped before one that is pushed now, after any history.

    Also if the item is pushed again and comes before later ones of its caller.
    """
    queue: FairQueue[int] = FairQueue()
    pushed: dict[int, Path] = {}
    for number, step in enumerate(history):
        if isinstance(step, tuple):
            queue.push(step, 2 * number, number)
            pushed[number] = step
        elif isinstance(step, int):
            assert queue.discard(pushed.get(step, ("a", "1")), 2 * step) == (step in pushed)
            pushed.pop(step, None)
        elif queue:
            assert queue.peek() in pushed
            del pushed[queue.pop()]
        assert len(queue) == len(pushed)
    predicted = queue.position(path, 2 * order + 1)
    iterated = list(queue)
    queue.push(path, 2 * order + 1, -1)

    popped = drained(queue)

    assert popped.index(-1) == predicted
    assert popped[:predicted] == iterated[:predicted]
    assert sorted(iterated) == sorted(pushed)


@given(st.lists(PATHS, max_size=60))
def test_shares(paths: list[Path]) -> None:
    """While two hosts, or two connections of a host, both wait, neither is served two times more than the other."""
    queue: FairQueue[Path] = FairQueue()
    for order, path in enumerate(paths):
        queue.push(path, order, path)
    left = Counter(prefix for path in paths for prefix in (path[:1], path))
    served: defaultdict[tuple[str, ...], int] = defaultdict(int)
    while queue:
        path = queue.pop()
        for prefix in (path[:1], path):
            left[prefix] -= 1
            served[prefix] += 1
            for other in left:
                if len(other) == len(prefix) and other[:-1] == prefix[:-1] and left[other] > 0:
                    assert served[prefix] <= served[other] + 1


def test_discard() -> None:
    """A discarded item is removed once, the order of the others stays, and a caller without items leaves no state."""
    queue = filled("a1", "a1", "a2", "b1")
    assert queue.discard(("a", "1"), 0)
    assert not queue.discard(("a", "1"), 0)
    assert not queue.discard(("z", "1"), 0)
    assert not queue.discard(("a", "9"), 2)
    assert queue.discard(("b", "1"), 3)
    assert len(queue) == 2
    assert drained(queue) == [1, 2]
    queue.push(("a", "1"), 4, 4)
    queue.push(("b", "1"), 5, 5)
    assert drained(queue) == [4, 5]
