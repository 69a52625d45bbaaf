"""Caller quotas: the limits of each named caller, checked before those of the server."""

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
_SOON = 1.0  # retry delay in seconds for a caller with too many inputs in flight


class Admission(Protocol):
    """Interface of admission control: admits requests or rejects them."""

    def admit(self, request: EmbedRequest, at_once: int) -> contextlib.AbstractContextManager[None]:
        """Hold the capacity that a request needs while `at_once` of its inputs run at a time."""
        ...


class CallerQuotas:
    """Enforces caller quotas in front of another `Admission`.

    Args:
        admission: admits requests that are within the quota.
        metrics: count inputs of admitted requests, and rejections.
    """

    def __init__(self, admission: Admission, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        self._used: dict[str, _Usage] = {}  # by the name of the token, so bounded

    def admit(self, request: EmbedRequest, at_once: int) -> contextlib.AbstractContextManager[None]:
        """Hold the caller's quota and the capacity that a request needs.

        Raises:
            Overloaded: too many inputs of this caller, or of all callers, are in flight.
            RateLimited: the request has more inputs than are left of this minute's quota.
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
    """The usage of one caller."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._window: SlidingWindow | None = None

    def check(self, quota: Quota, at_once: int, inputs: int) -> None:
        """Check that a request is within the quota.

        Raises:
            Overloaded, RateLimited: the request exceeds the quota.
        """
        self._set_limit(quota)
        if quota.inputs_in_flight is not None and self.in_flight + at_once > quota.inputs_in_flight:
            text = f"{quota.name} inputs in flight (at most {quota.inputs_in_flight}): retry later"
            raise Overloaded(text, retry_delay=_SOON)
        if self._window is None:
            return
        now = asyncio.get_running_loop().time()
        available_at = self._window.available_at(now, inputs)
        if available_at > now:
            limit, delay = self._window.limit, None if math.isinf(available_at) else available_at - now
            what_to_do = "split it" if delay is None else f"it fits in {delay:.3g} s"
            text = f"{limit.name} (at most {limit.amount}): this call has {inputs}; {what_to_do}"
            raise RateLimited(text, retry_delay=delay, quotas=(QuotaViolation(limit.name, text),))

    def begin(self, inputs: int) -> None:
        """Count the inputs of an admitted request."""
        if self._window is not None:
            self._window.consume(asyncio.get_running_loop().time(), inputs)

    def _set_limit(self, quota: Quota) -> None:
        """Apply the quota, which a reload may have changed: earlier inputs count for the new limit as well."""
        most = quota.inputs_per_minute
        if most is None:
            self._window = None
            return
        limit = RateLimit(f"{quota.name} inputs per minute", most, _MINUTE, is_spread=False)
        if self._window is None:
            self._window = SlidingWindow(limit)
        self._window.set_limit(limit)
