"""Fair sharing of a capacity among callers: by host, and within a host by connection."""

from typing import TypeVar

from embedwire_server.core.inputs import Caller

Name = TypeVar("Name", str, Caller)

# Factors of dynamic thresholds, which leave some capacity for others: a host may use at most eight times the free
# capacity, a connection four times. A single host gets 8/9 of the total, its first connection 4/5.
_OF_HOST, _OF_CONNECTION = 8, 4


class FairShare:
    """Usage of a capacity by caller, with dynamic thresholds that decide whether a caller may use more.

    Args:
        most: total capacity.
        guaranteed: the part of it that is divided equally among the callers that use some, whatever is free.

    Attributes:
        most: as above; mutable.
        guaranteed: as above; mutable.
        taken: usage of all callers.
    """

    def __init__(self, most: int, guaranteed: int) -> None:
        self.most = most
        self.guaranteed = guaranteed
        self.taken = 0
        self._by_host = dict[str, int]()  # usage
        self._by_connection = dict[Caller, int]()

    @property
    def is_idle(self) -> bool:
        """Whether no caller holds anything."""
        return not (self.taken or self._by_host or self._by_connection)

    def fits(self, caller: Caller, amount: int) -> bool:
        """Whether this caller may use that much more."""
        free = self.most - self.taken
        return (
            amount <= free
            and self._is_share(self._by_host, caller[0], amount, _OF_HOST * free)
            and self._is_share(self._by_connection, caller, amount, _OF_CONNECTION * free)
        )

    def held_by(self, caller: Caller) -> int:
        """Return the usage of this connection."""
        return self._by_connection.get(caller, 0)

    def change(self, caller: Caller, amount: int) -> None:
        """Add an amount, which may be negative, to the usage of this caller."""
        self.taken += amount
        _add(self._by_host, caller[0], amount)
        _add(self._by_connection, caller, amount)

    def _is_share(self, held: dict[Name, int], name: Name, amount: int, most: int) -> bool:
        own = held.get(name, 0) + amount
        if own <= most:
            return True
        callers = len(held) + (name not in held)
        return own <= self.guaranteed // callers


def _add(held: dict[Name, int], name: Name, amount: int) -> None:
    if left := held.get(name, 0) + amount:
        held[name] = left
    else:
        held.pop(name, None)
