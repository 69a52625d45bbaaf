"""Helpers of the tests of retries: failures, and retries with a scripted upstream."""

from embedwire_server.core.errors import GatewayError, Reason, RetrySafety, UpstreamFailure
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.retry import RetryPolicy
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.testing import Attempt, ScriptedUpstream
from tests.support.embed_calls import refusal, sample, times

Say = GatewayError | None
YES, ONCE, FRESH, NO = RetrySafety.SAFE, RetrySafety.ONCE, RetrySafety.FRESH, RetrySafety.UNSAFE


def again() -> UpstreamFailure:
    return refusal(503)


def never() -> UpstreamFailure:
    return refusal(400, Reason.INPUT_REJECTED, NO)


class Bench:
    """Retries with an upstream that gives these replies in sequence, then successes."""

    def __init__(self, *says: Say, max_attempts: int = 3, share: float = 0.2) -> None:
        self.metrics = Metrics("fake")
        self.budget = RetryBudget(share, max_attempts)
        self.says = list(says)
        self.upstream = ScriptedUpstream(self.answer_next)
        self.retrying = RetryPolicy(self.upstream, self.budget, self.metrics)
        self.limiters = RateLimiters({}, self.metrics)
        self.rate_limited = RetryPolicy(RateLimitPolicy(self.upstream, self.limiters), self.budget, self.metrics)

    def answer_next(self, attempt: Attempt) -> None:
        failure = self.says.pop(0) if self.says else None
        attempt.succeed() if failure is None else attempt.fail(failure)

    @property
    def made(self) -> int:
        return len(self.upstream.attempts)

    @property
    def times(self) -> list[float]:
        return times(self.upstream)

    def withheld(self, obstacle: str) -> float:
        return sample(self.metrics, "embedwire_retries_suppressed_total", modality="text", cause=obstacle)
