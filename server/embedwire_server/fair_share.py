"""A capacity that callers share: by host, and within a host by connection."""

from embedwire_server.domain import Caller

# However much one caller holds, some of the capacity is left for the next: a host may hold eight times what is free,
# one of its connections four times. A single host gets 8/9 of everything, its first connection 4/5.
_TIMES_FREE = (8, 4)


class FairShare:
    """Counts what each caller holds of a capacity, and decides whether it may hold more.

    Args:
        most: the whole capacity.
        guaranteed: the part of it that is divided equally among the callers that hold something, whatever is free.

    Attributes:
        most: as above; may be changed.
        guaranteed: as above; may be changed.
        taken: how much all callers hold.
    """

    def __init__(self, most: int, guaranteed: int) -> None:
        self.most = most
        self.guaranteed = guaranteed
        self.taken = 0
        self._held = (dict[tuple[str, ...], int](), dict[tuple[str, ...], int]())  # by host, and by connection

    def fits(self, caller: Caller, amount: int) -> bool:
        """Whether this caller may hold so much more."""
        free = self.most - self.taken
        if amount > free:
            return False
        for held, name, times in zip(self._held, (caller[:1], caller), _TIMES_FREE, strict=True):
            own = held.get(name, 0)
            callers = len(held) + (not own)
            if own + amount > max(self.guaranteed // callers, times * free):
                return False
        return True

    def held_by(self, caller: Caller) -> int:
        """How much this connection holds."""
        return self._held[1].get(caller, 0)

    def change(self, caller: Caller, amount: int) -> None:
        """Count so much more, or less, as held by this caller."""
        self.taken += amount
        for held, name in zip(self._held, (caller[:1], caller), strict=True):
            left = held.get(name, 0) + amount
            if left:
                held[name] = left
            else:
                held.pop(name, None)
