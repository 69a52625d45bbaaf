"""Work that arrives at once is done piece after piece, not all of it a little at a time.

An event loop takes a step of everything that is ready before it takes the next step of anything. When 64 replies
arrive together, all are then finished when the last one is, their callers send the next requests together, and whoever
comes meanwhile waits for as long at each step. One after the other, the first is finished at once, and
they spread out by themselves.
"""

import asyncio
from collections import deque

# With more waiting, more pass in a round: rounds cost something themselves, and there is nobody left to spare then.
_WAITING_PER_PASSAGE = 16


class Turnstile:
    """Lets one pass in each round of the event loop, a few if many wait; first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_open = True  # nobody has passed in this round

    async def passage(self) -> None:
        """Wait for a turn."""
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().call_soon(self._turn)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        self._is_open = not self._waiting
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        for _ in range(min(len(self._waiting), 1 + len(self._waiting) // _WAITING_PER_PASSAGE)):
            turn = self._waiting.popleft()
            if not turn.done():  # who was cancelled has left
                turn.set_result(None)
