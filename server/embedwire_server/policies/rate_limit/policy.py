"""Rate limit policy: enforces the configured limits and those that the upstream reports.

A quota belongs to an organisation and counts by modality, so there is a rate limiter per credential and modality.
"""

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from embedwire_server.config.settings import RateLimitSettings, Settings
from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, content_of
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.media.duration import duration_of
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.capacity import Capacity
from embedwire_server.policies.rate_limit.limiter import RateLimiter
from embedwire_server.policies.rate_limit.rejection import UPSTREAM_LIMIT
from embedwire_server.policies.rate_limit.reservation import Reservation
from embedwire_server.policies.rate_limit.shared_capacity import SharedCapacity
from embedwire_server.policies.rate_limit.shared_quota import SharedQuota
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.policies.rate_limit.usage import ModalityUsage, tightest
from embedwire_server.policies.rate_limit.windows import Windows
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

_PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
MAX_LIMITERS = 1024
MAX_LIMITED_CREDENTIALS = (
    32  # per host; its further new keys share one limiter, so that invented keys do not evade back-off
)

_Limiters = OrderedDict[tuple[str | None, Modality], RateLimiter]


def configured(settings: RateLimitSettings) -> dict[Modality, list[RateLimit]]:
    """Return the configured limits by modality."""
    found: dict[Modality, list[RateLimit]] = {}
    for modality in Modality:
        for field, amount in getattr(settings, modality):
            what, _, period = field.rpartition("_per_")
            if amount is not None:
                is_media = what == "media_minutes"
                name = f"{modality} {'minutes' if is_media else what} per {period}"
                found.setdefault(modality, []).append(RateLimit(name, amount, _PERIODS[period], is_media=is_media))
    return found


class RateLimiters:
    """Rate limiters by credential and modality.

    Args:
        limits: configured limits. They apply to the server's own credential; for callers' own credentials, only the
            limits that the upstream reports apply.
        metrics: count waits, rejections and back-offs.
        quota: access to the store through which servers share the limits of the server's own credential; None without.
    """

    def __init__(
        self, limits: Mapping[Modality, Sequence[RateLimit]], metrics: Metrics, quota: SharedQuota | None = None
    ) -> None:
        self._metrics = metrics
        self._quota = quota
        self._limiters: _Limiters = OrderedDict()  # by credential
        self._shared: _Limiters = OrderedDict()  # by host, for its new keys while too many others are in back-off
        self.limit(limits)
        if quota is not None:
            for modality in Modality:  # they report to the store also without calls
                self._of_server(modality)

    def reconfigure(self, settings: Settings) -> None:
        """Apply the limits of these settings; see `limit`."""
        self.limit(configured(settings.rate_limits))

    def limit(self, limits: Mapping[Modality, Sequence[RateLimit]]) -> None:
        """Change the limits; a limit of an existing name keeps its usage."""
        self._limits = limits
        self._show(limits)
        for (credential, modality), limiter in self._limiters.items():
            if credential is None:
                limiter.limit(limits.get(modality, ()))

    def usage(self) -> list[ModalityUsage]:
        """Return the usage of the limits of the server's own credential, by modality."""
        return [self._of_server(modality).usage() for modality in Modality]

    def _show(self, limits: Mapping[Modality, Sequence[RateLimit]]) -> None:
        """Show the limits in metrics. What remains is computed by the thread that reads it."""
        amount, remaining = self._metrics.rate_limit_amount, self._metrics.rate_limit_remaining
        amount.clear()
        remaining.clear()
        for modality, of_modality in limits.items():
            for limit in of_modality:
                amount.labels(modality, limit.name).set(limit.amount)
                remaining.labels(modality, limit.name).set_function(functools.partial(self._remaining, modality, limit))

    def _remaining(self, modality: Modality, limit: RateLimit) -> float:
        limiter = self._limiters.get((None, modality))
        return limit.amount if limiter is None else limiter.remaining(limit.name, time.monotonic())

    def show_reported(self, call: EmbedCall) -> None:
        """Show in metrics what the upstream's last response said about the quota of the server's own credential."""
        found = tightest(call.limits) if call.credential is None else None
        if found is not None:
            self._metrics.rate_limit_remaining.labels(call.modality, UPSTREAM_LIMIT).set(found.remaining)
            self._metrics.rate_limit_amount.labels(call.modality, UPSTREAM_LIMIT).set(found.limit)

    def of(self, call: EmbedCall) -> RateLimiter:
        """Return the rate limiter for a call."""
        if call.credential is not None:
            limiter = self._limiters.get((call.credential, call.modality))
            return self._of_caller(call.credential, call.caller[0], call.modality, limiter)
        return self._of_server(call.modality)

    def _of_server(self, modality: Modality) -> RateLimiter:
        limiter = self._limiters.get((None, modality))
        if limiter is None:
            limiter = RateLimiter(modality, self._capacity(modality), self._metrics)
            self._limiters[None, modality] = limiter
        return limiter

    def _capacity(self, modality: Modality) -> Capacity:
        limits = self._limits.get(modality, ())
        return Windows(limits) if self._quota is None else SharedCapacity(self._quota, modality, limits)

    def _of_caller(self, credential: str, host: str, modality: Modality, limiter: RateLimiter | None) -> RateLimiter:
        if limiter is None and self._limited_credentials(host) >= MAX_LIMITED_CREDENTIALS:
            return _get_or_create(
                self._shared,
                (host, modality),
                lambda: RateLimiter(modality, Windows(()), self._metrics, is_shared=True),
            )
        limiter = _get_or_create(
            self._limiters, (credential, modality), lambda: RateLimiter(modality, Windows(()), self._metrics)
        )
        limiter.host = host
        return limiter

    def _limited_credentials(self, host: str) -> int:
        """Count the credentials from this host that are in back-off."""
        return sum(limiter.host == host and limiter.is_backing_off for limiter in self._limiters.values())


class RateLimitPolicy:
    """Middleware that delays each attempt until the rate limits allow it; see `Upstream`.

    Args:
        upstream: makes the attempts.
        rate_limiters: the limiters.
    """

    def __init__(self, upstream: Upstream, rate_limiters: RateLimiters) -> None:
        self._upstream = upstream
        self._rate_limiters = rate_limiters

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt once the rate limits allow it.

        Raises:
            RateLimited: they allow it only after its deadline.
        """
        limiter = self._rate_limiters.of(call)
        reservation = Reservation(await _minutes(call) if limiter.counts_media else 0.0)
        if not limiter.try_acquire(reservation, call):
            await limiter.acquire(reservation, call)
        is_answered, begins, ends = False, 0.0, 0.0

        def emit_and_confirm(segments: list[Segment]) -> Awaitable[None]:
            nonlocal is_answered, begins, ends
            if not is_answered:
                is_answered = True
                limiter.confirm(reservation, call.exhausted_for)
            if limiter.counts_media:
                ends = max(ends, *(segment.end_offset_sec or 0.0 for segment in segments))
                begins = max(begins, *(segment.start_offset_sec or 0.0 for segment in segments))
            return emit(segments)

        try:
            summary = await self._upstream.embed(call, emit_and_confirm)
        except UpstreamFailure as failure:
            if not call.is_abandoned:  # else `emit` raised it, not the upstream
                _report_failure(limiter, reservation, call, failure)
            raise
        else:
            if limiter.counts_media:
                limiter.reconcile(
                    reservation, _actual_minutes(call, reservation, begins, ends or summary.media_duration_sec or 0.0)
                )
            return summary
        finally:
            limiter.release(reservation)
            if call.limits:
                limiter.reported = call.limits, asyncio.get_running_loop().time()
                self._rate_limiters.show_reported(call)


def _get_or_create(
    limiters: _Limiters, name: tuple[str | None, Modality], create: Callable[[], RateLimiter]
) -> RateLimiter:
    if name not in limiters:
        _evict_one(limiters)
        limiters[name] = create()
    limiters.move_to_end(name)
    return limiters[name]


def _evict_one(limiters: _Limiters) -> None:
    """Evict the least recently used limiter, if possible one not in back-off: callers may send any number of keys."""
    if len(limiters) < MAX_LIMITERS:
        return
    idle = [name for name, limiter in limiters.items() if name[0] is not None and limiter.is_idle]
    oldest = next((name for name in idle if not limiters[name].is_backing_off), idle[0] if idle else None)
    if oldest is not None:
        del limiters[oldest]


async def _minutes(call: EmbedCall) -> float:
    """Return the minutes of media by a file's header; 0 if unknown, as for a URL."""
    content = content_of(call.input)
    with call.time("queue"):
        seconds = await duration_of(content) if content is not None else None
    return _sent_seconds(call, seconds or 0.0) / 60


def _report_failure(limiter: RateLimiter, reservation: Reservation, call: EmbedCall, failure: UpstreamFailure) -> None:
    """Pass what a failure says about rate limits to the rate limiter."""
    if failure.reason is Reason.UPSTREAM_RATE_LIMITED:
        failure.retry_delay = limiter.back_off(reservation, failure.retry_delay)
    elif failure.upstream is not None:
        limiter.confirm(reservation, call.exhausted_for)


def _actual_minutes(call: EmbedCall, reservation: Reservation, begins: float, ends: float) -> float:
    """Return the minutes of media by the latest start and end of a segment, in seconds; a start is a lower bound."""
    return _sent_seconds(call, ends) / 60 if ends else max(reservation.minutes, _sent_seconds(call, begins) / 60)


def _sent_seconds(call: EmbedCall, ends: float) -> float:
    """Return the seconds of media between the start offset of the input and `ends`."""
    begins = call.input.start_offset_sec if isinstance(call.input, AudioInput) else None
    return max(0.0, ends - (begins or 0.0))
