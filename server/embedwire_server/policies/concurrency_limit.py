"""So many places, handed on in fair turns."""

import asyncio

from prometheus_client import Gauge

from embedwire_server.policies.fair_queue import FairQueue
from embedwire_server.upstreams.base import EmbedCall


class Places:
    """The places for inputs of one credential and modality.

    Args:
        count: how many there are.
        queued: told how many wait.
    """

    def __init__(self, count: int, queued: Gauge) -> None:
        self._count = count
        self._free = count
        self._queued = queued
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds one."""
        return self._free == self._count

    def try_take(self) -> bool:
        """Take a place if one is free. It has to be given back."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def take(self, call: EmbedCall) -> None:
        """Wait for a place. It has to be given back."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(call.caller, call.arrival, turn)
        self._queued.inc()
        try:
            with call.time("queue"):
                await turn
        except asyncio.CancelledError:
            self._waiting.discard(call.caller, call.arrival)
            if not turn.cancelled():  # it came in the same moment
                self.give_back()
            raise
        finally:
            self._queued.dec()

    def give_back(self) -> None:
        """Hand a place on to whose turn it is."""
        self._free += 1
        if self._waiting:
            self._hand_out()

    def resize(self, count: int) -> None:
        """Have so many from now on; those who hold more places than that keep them."""
        self._free += count - self._count
        self._count = count
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._free > 0:
            turn = self._waiting.pop()
            if not turn.cancelled():
                self._free -= 1
                turn.set_result(None)
