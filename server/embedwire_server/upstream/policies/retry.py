"""What may be sent again is sent again: the closed list of the design, section 3, within a budget.

The facts are in the failure (`UpstreamFailure.repeatable`); here is only whether and when. Each attempt
may be billed, and nothing is repeated once a segment has been handed on.
"""

import asyncio
import dataclasses
import random
from collections.abc import AsyncGenerator
from typing import Literal

from embedwire_server.errors import RateLimited, Reason, Repeatable, UpstreamFailure
from embedwire_server.metrics import Metrics
from embedwire_server.upstream import Part, Upstream, UpstreamCall
from embedwire_server.upstream.policies.budget import RetryBudget

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
# Those who were told the same delay must not come back in the same instant, nor much later than asked.
_SPREAD = 0.1
_TROUBLE = {
    Reason.UPSTREAM_UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT,
    Reason.UPSTREAM_RATE_LIMITED,
    Reason.UPSTREAM_CONFLICT,
}

Obstacle = Literal["attempts", "deadline", "budget"]


@dataclasses.dataclass(slots=True)
class _Attempts:
    """What has been tried for one input."""

    most: int
    made: int = 0
    waited: float = 0.0  # of the trace, before the latest attempt
    may_repeat_once: bool = True
    is_committed: bool = False
    failure: UpstreamFailure | None = None  # of the latest attempt


class RetryingUpstream:
    """Repeats failed attempts, see `Upstream`.

    Args:
        upstream: makes one attempt.
        budget: how many retries the process may make.
        metrics: told of every retry, and of those that were not made.

    Attributes:
        max_attempts: how many attempts one input gets; a request's `max_retries` can lower it. It may be changed.
    """

    def __init__(self, upstream: Upstream, budget: RetryBudget, max_attempts: int, metrics: Metrics) -> None:
        self._upstream = upstream
        self._budget = budget
        self.max_attempts = max_attempts
        self._metrics = metrics
        metrics.retry_budget.set_function(lambda: budget.left)

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Embed one input, with as many attempts as it needs and may have."""
        self._budget.begin()
        most = self.max_attempts if call.max_retries is None else min(self.max_attempts, 1 + call.max_retries)
        attempts = _Attempts(most)
        while True:
            attempts.made += 1
            attempts.waited = call.trace.waiting
            try:
                parts = self._upstream.embed(call)
                try:
                    async for part in parts:
                        attempts.is_committed = True
                        yield part
                finally:
                    await parts.aclose()
                self._budget.record(success=True)
                return  # noqa: TRY300 - the loop goes on after a failure only
            except UpstreamFailure as failure:
                attempts.failure = failure
                delay = self._delay(call, attempts, failure)
                if delay is None:
                    raise
                if failure.repeatable is Repeatable.FRESH:
                    call = dataclasses.replace(call, needs_fresh_connection=True)
            except RateLimited:
                if attempts.failure is not None:  # what the upstream said tells more
                    raise attempts.failure from None
                raise
            with call.trace.time("queue"):
                await asyncio.sleep(delay)

    def _delay(self, call: UpstreamCall, attempts: _Attempts, failure: UpstreamFailure) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        fresh, once = failure.repeatable is Repeatable.FRESH, failure.repeatable is Repeatable.ONCE
        if not fresh:
            self._budget.record(success=failure.reason not in _TROUBLE)
        is_spent = (fresh and call.needs_fresh_connection) or (once and not attempts.may_repeat_once)
        if attempts.is_committed or failure.repeatable is Repeatable.NO or is_spent:
            return None
        delay = 0.0 if fresh else _back_off(attempts.made, failure.retry_delay)
        modality = call.input.modality
        if obstacle := self._obstacle(call, attempts, delay, is_free=fresh):
            self._metrics.retries_withheld.labels(modality, obstacle).inc()
            return None
        attempts.may_repeat_once = attempts.may_repeat_once and not once
        self._metrics.retries.labels(modality, failure.reason).inc()
        return delay

    def _obstacle(self, call: UpstreamCall, attempts: _Attempts, delay: float, *, is_free: bool) -> Obstacle | None:
        """What stands against another attempt after this delay; if nothing does, the budget pays unless it is free."""
        if attempts.made >= attempts.most:
            return "attempts"
        lasted = call.trace.waiting - attempts.waited  # the next attempt will hardly be shorter
        if asyncio.get_running_loop().time() + delay + lasted >= call.deadline:
            return "deadline"
        return None if is_free or self._budget.take() else "budget"


def _back_off(attempt: int, asked: float | None) -> float:
    """Full jitter, doubling with each attempt; on top of what the upstream asks for, if it does."""
    jitter = random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (attempt - 1)))  # noqa: S311 - no secret
    asked = asked or 0.0
    return max(jitter, asked + min(jitter, asked * _SPREAD))
