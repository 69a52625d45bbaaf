"""Retry budget: limits the retries of an input and of the process, so that they cannot prolong an outage."""

from embedwire_server.config.settings import Settings

RESERVE = 20.0
# Weight of one outcome in the moving average: it covers about the last fifty.
_WEIGHT = 0.02
_HALF = 0.5


class RetryBudget:
    """Token bucket of retries: an input deposits a share while most recent attempts succeed, a retry withdraws one.

    While the upstream fails occasionally, every input that needs a retry gets one; while it is down, there are
    `RESERVE` retries and then none until it responds again.

    Args:
        share: retries that one input deposits: requests stay below (1 + share) per input, plus the reserve. Mutable.
        max_attempts: limit per input; its `max_retries` can lower it. Mutable.
    """

    def __init__(self, share: float, max_attempts: int) -> None:
        self.share = share
        self.max_attempts = max_attempts
        self._success = 1.0
        self.left = RESERVE if share else 0.0

    def reconfigure(self, settings: Settings) -> None:
        """Apply these settings."""
        self.share, self.max_attempts = settings.retry.budget_ratio, settings.retry.max_attempts

    def attempts(self, max_retries: int | None) -> int:
        """Return the maximum number of attempts for an input."""
        return self.max_attempts if max_retries is None else min(self.max_attempts, 1 + max_retries)

    def deposit(self) -> None:
        """Deposit the share of an input, before its first attempt."""
        if self._success > _HALF:
            self.left = min(RESERVE, self.left + self.share) if self.share else 0.0

    def record_outcome(self, *, success: bool) -> None:
        """Record the outcome of an attempt. A response that rejects the input is a success of the upstream."""
        self._success += _WEIGHT * (success - self._success)

    def try_withdraw(self) -> bool:
        """Withdraw one retry; return False if there is none."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
