"""What each caller with a name may use of what all share: its own limits, before those of the server."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from embedwire_server.core.errors import Overloaded, QuotaViolation, RateLimited
from embedwire_server.core.inputs import EmbedRequest, Quota
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.sliding_window import RateLimit, SlidingWindow

_MINUTE = 60.0
_SOON = 1.0  # seconds until a caller with too many inputs in flight may look again


class Admission(Protocol):
    """Whatever takes requests on, or refuses them."""

    def admit(self, request: EmbedRequest, at_once: int) -> contextlib.AbstractContextManager[None]:
        """Hold the room that a request needs while `at_once` of its inputs run at a time."""
        ...


class CallerQuotas:
    """Holds callers to their own limits; has the face of what it asks next.

    Args:
        admission: takes on what is within them.
        metrics: count what is admitted and refused.
    """

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        self._used: dict[str, _Usage] = {}  # by name, so as many as there are tokens

    def admit(self, request: EmbedRequest, at_once: int) -> contextlib.AbstractContextManager[None]:
        """Hold what a request uses of its caller's quota, and the room that it needs.

        Raises:
            Overloaded: too many inputs of this caller are in flight, or of all.
            RateLimited: it has more inputs than are left of this minute.
        """
        if request.quota is None:
            return self._admission.admit(request, at_once)
        return self._admit(request, request.quota, at_once)

    @contextlib.contextmanager
    def _admit(self, request: EmbedRequest, quota: Quota, at_once: int) -> Iterator[None]:
        used = self._used.setdefault(quota.name, _Usage())
        count = min(len(request.inputs), at_once)
        try:
            used.check(quota, count, len(request.inputs))
        except (Overloaded, RateLimited):
            self._metrics.refusals.labels("caller").inc()
            raise
        with self._admission.admit(request, at_once):
            used.begin(len(request.inputs))
            used.in_flight += count
            for modality, inputs in Counter(item.modality for item in request.inputs).items():
                self._metrics.caller_inputs.labels(quota.name, modality).inc(inputs)
            try:
                yield
            finally:
                used.in_flight -= count


class _Usage:
    """What one caller uses."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._window: SlidingWindow | None = None

    def check(self, quota: Quota, at_once: int, inputs: int) -> None:
        """See whether a request is within the quota.

        Raises:
            Overloaded, RateLimited: it is not.
        """
        self._hold_to(quota)
        if quota.inputs_in_flight is not None and self.in_flight + at_once > quota.inputs_in_flight:
            words = f"{quota.name} inputs in flight (at most {quota.inputs_in_flight}): retry later"
            raise Overloaded(words, retry_delay=_SOON)
        if self._window is None:
            return
        now = asyncio.get_running_loop().time()
        available_at = self._window.available_at(now, inputs)
        if available_at > now:
            limit, delay = self._window.limit, None if math.isinf(available_at) else available_at - now
            what_to_do = "split it" if delay is None else f"it fits in {delay:.3g} s"
            words = f"{limit.name} (at most {limit.amount}): this call has {inputs}; {what_to_do}"
            raise RateLimited(words, retry_delay=delay, quotas=(QuotaViolation(limit.name, words),))

    def begin(self, inputs: int) -> None:
        """Count what is taken on."""
        if self._window is not None:
            self._window.consume(asyncio.get_running_loop().time(), inputs)

    def _hold_to(self, quota: Quota) -> None:
        """The configuration may have changed since: what has gone counts for the new limit as well."""
        most = quota.inputs_per_minute
        if most is None:
            self._window = None
            return
        limit = RateLimit(f"{quota.name} inputs per minute", most, _MINUTE, is_spread=False)
        if self._window is None:
            self._window = SlidingWindow(limit)
        self._window.set_limit(limit)
