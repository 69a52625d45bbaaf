"""Retry policy: exponential back-off with full jitter, within a retry budget.

Which failures may be retried is a closed list (docs/reliability.md): the code that raises a failure sets
`UpstreamFailure.retry_safety`. Each attempt may be billed. Failures after the first byte of the body of a successful
response are never retried.
"""

import asyncio
import dataclasses
import random
from typing import Literal

from embedwire_server.core.errors import RateLimited, Reason, RetrySafety, UpstreamFailure
from embedwire_server.core.results import ReplySummary
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
# Jitter as a fraction of Retry-After: inputs with the same delay must not be sent in the same instant, nor much later.
_SPREAD = 0.1
_TROUBLE = {
    Reason.UPSTREAM_UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT,
    Reason.UPSTREAM_RATE_LIMITED,
    Reason.UPSTREAM_CONFLICT,
}

Obstacle = Literal["attempts", "deadline", "budget"]


@dataclasses.dataclass(slots=True, eq=False)
class _Attempts:
    """State of the attempts for one input."""

    most: int
    made: int = 0
    waited: float = 0.0  # seconds of waiting for the upstream before the latest attempt
    may_repeat_once: bool = True


class RetryPolicy:
    """Middleware that retries failed attempts; see `Upstream`.

    Args:
        upstream: makes one attempt.
        budget: limits the retries.
        metrics: count the retries, and those that were suppressed.
    """

    def __init__(self, upstream: Upstream, budget: RetryBudget, metrics: Metrics) -> None:
        self._upstream = upstream
        self._budget = budget
        self._metrics = metrics
        metrics.retry_budget.set_function(lambda: budget.left)

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input, retrying failed attempts."""
        self._budget.deposit()
        attempts = _Attempts(self._budget.attempts(call.max_retries))
        failure: UpstreamFailure | None = None  # of the latest attempt
        while True:
            attempts.made += 1
            attempts.waited = call.waiting
            try:
                summary = await self._upstream.embed(call, emit)
            except UpstreamFailure as error:
                failure = error
                delay = None if call.is_abandoned else self._delay(call, attempts, failure)
                if delay is None:
                    raise
            except RateLimited:
                if failure is not None and not call.is_abandoned:  # the upstream's error is more informative
                    raise failure from None
                raise
            else:
                self._budget.record_outcome(success=True)
                return summary
            call.retries = attempts.made
            with call.time("queue"):
                await asyncio.sleep(delay)

    def _delay(self, call: EmbedCall, attempts: _Attempts, failure: UpstreamFailure) -> float | None:
        """Return the seconds until the next attempt; None if there is none."""
        fresh, once = failure.retry_safety is RetrySafety.FRESH, failure.retry_safety is RetrySafety.ONCE
        if not fresh:
            self._budget.record_outcome(success=failure.reason not in _TROUBLE)
        is_spent = (fresh and call.needs_fresh_connection) or (once and not attempts.may_repeat_once)
        if failure.retry_safety is RetrySafety.UNSAFE or is_spent:
            return None
        delay = 0.0 if fresh else _back_off(attempts.made, failure.retry_delay)
        if obstacle := self._obstacle(call, attempts, delay, is_free=fresh):
            self._metrics.retries_withheld.labels(call.modality, obstacle).inc()
            return None
        call.needs_fresh_connection = call.needs_fresh_connection or fresh
        attempts.may_repeat_once = attempts.may_repeat_once and not once
        self._metrics.retries.labels(call.modality, failure.reason).inc()
        return delay

    def _obstacle(self, call: EmbedCall, attempts: _Attempts, delay: float, *, is_free: bool) -> Obstacle | None:
        """Return what prevents an attempt after this delay; if nothing does, withdraw a retry unless it is free."""
        if attempts.made >= attempts.most:
            return "attempts"
        lasted = call.waiting - attempts.waited  # estimate for the next attempt
        if asyncio.get_running_loop().time() + delay + lasted >= call.deadline:
            return "deadline"
        return None if is_free or self._budget.try_withdraw() else "budget"


def _back_off(attempt: int, asked: float | None) -> float:
    """Return a delay with full jitter, doubling with each attempt, and no shorter than the upstream asks for."""
    jitter = random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (attempt - 1)))  # noqa: S311 - no secret
    asked = asked or 0.0
    return max(jitter, asked + min(jitter, asked * _SPREAD))
