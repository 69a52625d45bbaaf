"""Whose turn it is: fair among hosts, within a host among its connections, first come first served within one."""

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Hands out turns round robin at every level of the callers' paths.

    A caller that opens more connections takes turns from its own host's others only; one that queues more
    takes none from anybody. All paths have the same length.
    """

    def __init__(self) -> None:
        self._branches: dict[str, FairQueue[T]] = {}  # in the order of their turns
        self._items: list[tuple[int, T]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Everything in the order of the turns; nothing may be pushed or taken meanwhile."""
        yield from (item for _, item in self._items)
        rounds = deque(iter(branch) for branch in self._branches.values())
        while rounds:
            branch = rounds.popleft()
            for item in branch:
                yield item
                rounds.append(branch)
                break

    def push(self, path: Sequence[str], order: int, item: T) -> None:
        """Queue an item under its caller's path; among those of one caller the lowest `order` comes first."""
        self._length += 1
        if path:
            self._branches.setdefault(path[0], FairQueue()).push(path[1:], order, item)
        else:
            bisect.insort(self._items, (order, item), key=lambda entry: entry[0])

    def peek(self) -> T:
        """Whose turn is next, which `pop` would take."""
        return next(iter(self._branches.values())).peek() if self._branches else self._items[0][1]

    def pop(self) -> T:
        """Take the item whose turn is next."""
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
        """Take out an item that gave up; false if it is not there any more."""
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

    def ahead(self, path: Sequence[str], order: int) -> int:
        """How many get their turn before an item that is pushed now, if no other item is pushed."""
        if not path:
            return bisect.bisect_left(self._items, order, key=lambda entry: entry[0])
        branch = self._branches.get(path[0])
        own = branch.ahead(path[1:], order) if branch is not None else 0
        count, turns = own, own + 1  # a caller that is earlier in the round has one turn more than this one
        for other in self._branches.values():
            if other is branch:
                turns -= 1
            else:
                count += min(len(other), turns)
        return count
