"""How many retries an input, and the process, may make, so that retries cannot become the outage."""

RESERVE = 20.0
# The weight of one outcome in what counts as recent: about the last fifty.
_WEIGHT = 0.02
_HALF = 0.5


class RetryBudget:
    """A bucket of retries: each input puts a share in while most recent attempts succeed, each retry takes one out.

    While the upstream fails now and then, every input that needs a retry gets one; while it is down there are
    `RESERVE` of them and then none, until it answers again.

    Args:
        share: retries that one input adds; so requests stay below (1 + share) an input, and the reserve. It may be
            changed.
        max_attempts: of one input; its `max_retries` can lower it. It may be changed.
    """

    def __init__(self, share: float, max_attempts: int) -> None:
        self.share = share
        self.max_attempts = max_attempts
        self._success = 1.0
        self.left = RESERVE if share else 0.0

    def attempts(self, max_retries: int | None) -> int:
        """How many attempts an input gets."""
        return self.max_attempts if max_retries is None else min(self.max_attempts, 1 + max_retries)

    def deposit(self) -> None:
        """Count an input that is sent for the first time."""
        if self._success > _HALF:
            self.left = min(RESERVE, self.left + self.share) if self.share else 0.0

    def record_outcome(self, *, success: bool) -> None:
        """Count how an attempt ended. An upstream that answers, and be it with a refusal, is a success."""
        self._success += _WEIGHT * (success - self._success)

    def try_withdraw(self) -> bool:
        """Take one retry out; false if there is none."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
