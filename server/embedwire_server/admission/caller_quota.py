"""What each caller with a name may use of what all share: its own limits, before those of the server."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from embedwire_server.core.errors import Overloaded, Quota, RateLimited
from embedwire_server.core.inputs import Allowance, EmbedRequest
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.sliding_window import RateLimit, Window

_MINUTE = 60.0
_SOON = 1.0  # seconds until a caller with too many inputs in flight may look again


class Admits(Protocol):
    """Whatever takes requests on, or refuses them."""

    def admit(self, request: EmbedRequest, at_once: int) -> contextlib.AbstractContextManager[None]:
        """Hold the room that a request needs while `at_once` of its inputs run at a time."""
        ...


class Allowances:
    """Holds callers to their own limits; has the face of what it asks next.

    Args:
        admission: takes on what is within them.
        metrics: told of what is taken on and refused.
    """

    def __init__(self, admission: Admits, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        self._used: dict[str, _Used] = {}  # by name, so as many as there are tokens

    def admit(self, request: EmbedRequest, at_once: int) -> contextlib.AbstractContextManager[None]:
        """Hold what a request uses of its caller's allowance, and the room that it needs.

        Raises:
            Overloaded: too many inputs of this caller are in flight, or of all.
            RateLimited: it has more inputs than are left of this minute.
        """
        if request.allowance is None:
            return self._admission.admit(request, at_once)
        return self._admit(request, request.allowance, at_once)

    @contextlib.contextmanager
    def _admit(self, request: EmbedRequest, allowance: Allowance, at_once: int) -> Iterator[None]:
        used = self._used.setdefault(allowance.name, _Used())
        count = min(len(request.inputs), at_once)
        try:
            used.check(allowance, count, len(request.inputs))
        except (Overloaded, RateLimited):
            self._metrics.refusals.labels("caller").inc()
            raise
        with self._admission.admit(request, at_once):
            used.begin(len(request.inputs))
            used.in_flight += count
            for modality, inputs in Counter(item.modality for item in request.inputs).items():
                self._metrics.caller_inputs.labels(allowance.name, modality).inc(inputs)
            try:
                yield
            finally:
                used.in_flight -= count


class _Used:
    """What one caller uses."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._window: Window | None = None

    def check(self, allowance: Allowance, at_once: int, inputs: int) -> None:
        """See whether a request is within the allowance.

        Raises:
            Overloaded, RateLimited: it is not.
        """
        self._hold_to(allowance)
        if allowance.inputs_in_flight is not None and self.in_flight + at_once > allowance.inputs_in_flight:
            words = f"{allowance.name} inputs in flight (at most {allowance.inputs_in_flight}): retry later"
            raise Overloaded(words, retry_delay=_SOON)
        if self._window is None:
            return
        now = asyncio.get_running_loop().time()
        opens = self._window.opens(now, inputs)
        if opens > now:
            limit, delay = self._window.limit, None if math.isinf(opens) else opens - now
            what_to_do = "split it" if delay is None else f"it fits in {delay:.3g} s"
            words = f"{limit.name} (at most {limit.amount}): this call has {inputs}; {what_to_do}"
            raise RateLimited(words, retry_delay=delay, quotas=(Quota(limit.name, words),))

    def begin(self, inputs: int) -> None:
        """Count what is taken on."""
        if self._window is not None:
            self._window.book(asyncio.get_running_loop().time(), inputs)

    def _hold_to(self, allowance: Allowance) -> None:
        """The configuration may have changed since: what has gone counts for the new limit as well."""
        most = allowance.inputs_per_minute
        if most is None:
            self._window = None
            return
        limit = RateLimit(f"{allowance.name} inputs per minute", most, _MINUTE, is_spread=False)
        if self._window is None:
            self._window = Window(limit)
        self._window.hold_to(limit)
