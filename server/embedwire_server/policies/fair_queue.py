"""Hierarchical round-robin queue: by host, then by connection, in order of arrival within a connection."""

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Round-robin queue at every level of the callers' paths.

    A host gets no larger share by opening more connections, nor a connection by queuing more items. All paths must have
    the same length.
    """

    def __init__(self) -> None:
        self._branches: dict[str, FairQueue[T]] = {}  # in round-robin order
        self._items: list[tuple[int, T]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Iterate in the order of `pop`; the queue must not change meanwhile."""
        yield from (item for _, item in self._items)
        rounds = deque(iter(branch) for branch in self._branches.values())
        while rounds:
            branch = rounds.popleft()
            for item in branch:
                yield item
                rounds.append(branch)
                break

    def push(self, path: Sequence[str], order: int, item: T) -> None:
        """Add an item under its caller's path; among the items of one caller the lowest `order` comes first."""
        self._length += 1
        if path:
            self._branches.setdefault(path[0], FairQueue()).push(path[1:], order, item)
        else:
            bisect.insort(self._items, (order, item), key=lambda entry: entry[0])

    def peek(self) -> T:
        """Return the item that `pop` would remove."""
        return next(iter(self._branches.values())).peek() if self._branches else self._items[0][1]

    def pop(self) -> T:
        """Remove and return the next item."""
        self._length -= 1
        if not self._branches:
            return self._items.pop(0)[1]
        name = next(iter(self._branches))
        branch = self._branches.pop(name)
        item = branch.pop()
        if branch:
            self._branches[name] = branch
        return item

    def discard(self, path: Sequence[str], order: int) -> bool:
        """Remove an item that no longer waits; return False if it is not in the queue."""
        if path:
            branch = self._branches.get(path[0])
            found = branch is not None and branch.discard(path[1:], order)
            if branch is not None and not branch:
                del self._branches[path[0]]
        else:
            at = bisect.bisect_left(self._items, order, key=lambda entry: entry[0])
            found = at < len(self._items) and self._items[at][0] == order
            if found:
                del self._items[at]
        self._length -= found
        return found

    def position(self, path: Sequence[str], order: int) -> int:
        """Return how many items would be popped before one that is pushed now, if no other is pushed."""
        if not path:
            return bisect.bisect_left(self._items, order, key=lambda entry: entry[0])
        branch = self._branches.get(path[0])
        own = branch.position(path[1:], order) if branch is not None else 0
        count, turns = own, own + 1  # branches earlier in the round have one turn more than this one
        for other in self._branches.values():
            if other is branch:
                turns -= 1
            else:
                count += min(len(other), turns)
        return count
