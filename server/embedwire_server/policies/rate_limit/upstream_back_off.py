"""Back-off after rate-limit errors of the upstream: for as long as it asks, or exponential.

Times are seconds of the event loop's clock.
"""

import math
import random

MAX_BACK_OFF = 3600.0
_FIRST, _MAX_UNHINTED = 1.0, 60.0
_MAX_DOUBTED = 5.0  # after a hint that was too short, as 0 always is: the next one may be right
_MAX_EXPONENT = 10


class BackOff:
    """State of one back-off.

    Args:
        ignores_hints: whether the delays that the upstream asks for are those of other credentials.

    Attributes:
        until: when it ends.
    """

    def __init__(self, *, ignores_hints: bool) -> None:
        self._ignores_hints = ignores_hints
        self._started = -math.inf
        self.until = -math.inf
        self._errors = 0  # since the last success

    def record_success(self, sent: float) -> None:
        """Record a request without a rate-limit error; one that was sent before the back-off is ignored."""
        if sent >= self._started:
            self._errors = 0

    def record_error(self, sent: float, asked: float | None) -> tuple[float, bool]:
        """Record a rate-limit error; concurrent errors of one limit count once.

        Returns:
            The seconds to wait, and whether they are a guess: without a hint, or after one that was too short.
        """
        if sent >= self._started:
            self._errors = min(self._errors + 1, _MAX_EXPONENT)
        hint = None if self._ignores_hints else asked
        is_guess = not hint or self._errors > 1
        return max(hint or 0.0, self._guess(hint) if is_guess else 0.0), is_guess

    def start(self, now: float, seconds: float) -> bool:
        """Start it, or extend it; return False if the one in force ends later."""
        self._started = now
        until = now + min(seconds, MAX_BACK_OFF)
        if until <= self.until:
            return False
        self.until = until
        return True

    def _guess(self, hint: float | None) -> float:
        longest = _MAX_UNHINTED if hint is None else _MAX_DOUBTED
        obeyed = 1 if hint else 0  # the first error with a hint does not count
        seconds: float = min(longest, _FIRST * 2 ** max(0, self._errors - obeyed - 1))
        return seconds * random.uniform(1, 1.2)  # noqa: S311 - no secret
