"""No more than the upstream's rate limits allow, the configured ones and those that it tells.

A quota belongs to an organisation and counts by modality, so each credential has a pace for each.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from embedwire_server.core.errors import Reason, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, content_of
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.media.duration import duration_of
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.rate_limit.limiter import RateLimiter, Reservation
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

MAX_PACES = 1024
MAX_HELD_KEYS = 32  # of one host; its further new keys share one pace, so that invented keys do not evade back-off

_Paces = OrderedDict[tuple[str | None, Modality], RateLimiter]


class RateLimiters:
    """The pace of each credential and modality.

    Args:
        limits: the configured ones. They are those of the server's own credential; callers' own are held to
            what the upstream tells of theirs.
        metrics: count what waits, is refused and held back.
    """

    def __init__(self, limits: Mapping[Modality, Sequence[RateLimit]], metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._paces: _Paces = OrderedDict()  # by credential
        self._shared: _Paces = OrderedDict()  # by host, for its new keys while too many others are held

    def limit(self, limits: Mapping[Modality, Sequence[RateLimit]]) -> None:
        """Go by other limits from now on; what has gone counts for them as well."""
        self._limits = limits
        for (key, modality), pace in self._paces.items():
            if key is None:
                pace.limit(limits.get(modality, ()))

    def of(self, call: EmbedCall) -> RateLimiter:
        """That of the call."""
        modality = call.modality
        pace = self._paces.get((call.key, modality))
        if call.key is not None:
            return self._of_caller(call.key, call.caller[0], modality, pace)
        if pace is None:
            pace = self._paces[None, modality] = RateLimiter(modality, self._limits.get(modality, ()), self._metrics)
        return pace

    def _of_caller(self, key: str, host: str, modality: Modality, pace: RateLimiter | None) -> RateLimiter:
        if pace is None and self._held_keys(host) >= MAX_HELD_KEYS:
            return _remembered(
                self._shared, (host, modality), lambda: RateLimiter(modality, (), self._metrics, is_shared=True)
            )
        pace = _remembered(self._paces, (key, modality), lambda: RateLimiter(modality, (), self._metrics))
        pace.host = host
        return pace

    def _held_keys(self, host: str) -> int:
        """Count the credentials from this host that the upstream has asked to wait."""
        return sum(pace.host == host and pace.is_held for pace in self._paces.values())


class RateLimitPolicy:
    """Lets every attempt wait for its turn, see `Upstream`.

    Args:
        upstream: makes the attempts.
        rate_limiters: whose turn it is.
    """

    def __init__(self, upstream: Upstream, rate_limiters: RateLimiters) -> None:
        self._upstream = upstream
        self._rate_limiters = rate_limiters

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Make one attempt when its turn has come.

        Raises:
            RateLimited: that is after its deadline.
        """
        pace = self._rate_limiters.of(call)
        turn = Reservation(await _minutes(call) if pace.counts_media else 0.0)
        if not pace.try_acquire(turn, call):
            await pace.acquire(turn, call)
        is_answered, begins, ends = False, 0.0, 0.0

        def emit_paced(segments: list[Segment]) -> Awaitable[None]:
            nonlocal is_answered, begins, ends
            if not is_answered:
                is_answered = True
                pace.confirm(turn, call.hold)
            if pace.counts_media:
                ends = max(ends, *(segment.end_offset_sec or 0.0 for segment in segments))
                begins = max(begins, *(segment.start_offset_sec or 0.0 for segment in segments))
            return emit(segments)

        try:
            summary = await self._upstream.embed(call, emit_paced)
        except UpstreamFailure as failure:
            if not call.is_abandoned:  # else `emit` raised it, and the upstream said nothing of the kind
                _tell(pace, turn, call, failure)
            raise
        else:
            if pace.counts_media:
                pace.reconcile(turn, _minutes_found(call, turn, begins, ends or summary.media_duration_sec or 0.0))
            return summary
        finally:
            pace.release(turn)


def _remembered(paces: _Paces, name: tuple[str | None, Modality], create: Callable[[], RateLimiter]) -> RateLimiter:
    if name not in paces:
        _forget_one(paces)
        paces[name] = create()
    paces.move_to_end(name)
    return paces[name]


def _forget_one(paces: _Paces) -> None:
    """Callers may bring any number of keys: forget the one not used for longest, of those not held if there is one."""
    if len(paces) < MAX_PACES:
        return
    idle = [name for name, pace in paces.items() if name[0] is not None and pace.is_idle]
    oldest = next((name for name in idle if not paces[name].is_held), idle[0] if idle else None)
    if oldest is not None:
        del paces[oldest]


async def _minutes(call: EmbedCall) -> float:
    """Minutes of media that a file has by its header; 0 if it is unknown, as behind a URL."""
    content = content_of(call.input)
    with call.time("queue"):
        seconds = await duration_of(content) if content is not None else None
    return _sent_seconds(call, seconds or 0.0) / 60


def _tell(pace: RateLimiter, turn: Reservation, call: EmbedCall, failure: UpstreamFailure) -> None:
    """Tell the pace what the upstream said in a failure, if it said anything."""
    if failure.reason is Reason.UPSTREAM_RATE_LIMITED:
        failure.retry_delay = pace.back_off(turn, failure.retry_delay)
    elif failure.upstream is not None:
        pace.confirm(turn, call.hold)


def _minutes_found(call: EmbedCall, turn: Reservation, begins: float, ends: float) -> float:
    """Minutes of media by the latest begin and end of a segment, in seconds; without an end, it lasted longer."""
    return _sent_seconds(call, ends) / 60 if ends else max(turn.minutes, _sent_seconds(call, begins) / 60)


def _sent_seconds(call: EmbedCall, ends: float) -> float:
    """Seconds of media that are embedded, of those up to this end."""
    begins = call.input.start_offset_sec if isinstance(call.input, AudioInput) else None
    return max(0.0, ends - (begins or 0.0))
