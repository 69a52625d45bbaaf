"""Processing time of tasks and assets, in polls and in seconds."""

import time


class Countdown:
    """Ends after a number of polls and a time.

    Args:
        polls: Number of polls before the end.
        seconds: Shortest time before the end.
    """

    def __init__(self, polls: int, seconds: float) -> None:
        self._polls = polls
        self._end = time.monotonic() + seconds

    @property
    def has_ended(self) -> bool:
        """Whether the polls and the time are over."""
        return self._polls <= 0 and time.monotonic() >= self._end

    def poll(self) -> bool:
        """Count a poll, and return whether it finds the end."""
        if self._polls > 0:
            self._polls -= 1
            return False
        return self.has_ended
