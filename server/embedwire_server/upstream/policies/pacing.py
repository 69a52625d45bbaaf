"""No more than the upstream's rate limits allow, the configured ones and those that it tells.

A quota belongs to an organisation and counts by modality, so each credential has a pace for each.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from embedwire_server.domain import AudioInput, Completion, Modality, content_of
from embedwire_server.errors import Reason, UpstreamFailure
from embedwire_server.media import duration_of
from embedwire_server.metrics import Metrics
from embedwire_server.upstream import Part, Upstream, UpstreamCall
from embedwire_server.upstream.policies.pace import Pace
from embedwire_server.upstream.policies.windows import RateLimit

MAX_PACES = 1024
MAX_HELD_KEYS = 32  # of one host; its further new keys share one pace, so that invented keys do not evade back-off

_Paces = OrderedDict[tuple[str | None, Modality], Pace]


class PacedUpstream:
    """Lets every attempt wait for its turn, see `Upstream`.

    Args:
        upstream: makes the attempts.
        limits: the configured ones. They are those of the server's own credential; callers' own are held to
            what the upstream tells of theirs.
        metrics: told of what waits, is refused and held.
    """

    def __init__(self, upstream: Upstream, limits: Mapping[Modality, Sequence[RateLimit]], metrics: Metrics) -> None:
        self._upstream = upstream
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

    async def embed(self, call: UpstreamCall) -> AsyncGenerator[Part]:
        """Make one attempt when its turn has come.

        Raises:
            RateLimited: that is after its deadline.
        """
        pace = self._pace(call)
        turn = await pace.turn(call, await _minutes(call) if pace.counts_media else 0.0)
        is_answered, begins, ends = False, 0.0, 0.0
        try:
            parts = self._upstream.embed(call)
            try:
                async for part in parts:
                    if not is_answered:
                        is_answered = True
                        pace.answered(turn, call.trace.hold)
                    if not isinstance(part, Completion):
                        ends = max(ends, *(segment.end_offset_sec or 0.0 for segment in part))
                        begins = max(begins, *(segment.start_offset_sec or 0.0 for segment in part))
                    elif pace.counts_media and (ends := ends or part.media_duration_sec or 0.0):
                        pace.lasted(turn, _sent_seconds(call, ends) / 60)
                    elif pace.counts_media:  # it lasted longer than that, no telling how much
                        pace.lasted(turn, max(turn.minutes, _sent_seconds(call, begins) / 60))
                    yield part
            finally:
                await parts.aclose()
        except UpstreamFailure as failure:
            if failure.reason is Reason.UPSTREAM_RATE_LIMITED:
                failure.retry_delay = pace.limited(turn, failure.retry_delay)
            elif failure.upstream is not None:
                pace.answered(turn, call.trace.hold)
            raise
        finally:
            pace.ended(turn)

    def _pace(self, call: UpstreamCall) -> Pace:
        host, modality = call.caller[0], call.input.modality
        name = (call.key, modality)
        if name not in self._paces and call.key is not None and self._held_keys(host) >= MAX_HELD_KEYS:
            return _remembered(
                self._shared, (host, modality), lambda: Pace(modality, (), self._metrics, is_shared=True)
            )
        limits = self._limits.get(modality, ()) if call.key is None else ()
        pace = _remembered(self._paces, name, lambda: Pace(modality, limits, self._metrics))
        pace.host = host
        return pace

    def _held_keys(self, host: str) -> int:
        """How many credentials that came from this host the upstream has told to wait."""
        return sum(pace.host == host and pace.is_held for pace in self._paces.values())


def _remembered(paces: _Paces, name: tuple[str | None, Modality], create: Callable[[], Pace]) -> Pace:
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


async def _minutes(call: UpstreamCall) -> float:
    """Minutes of media that a file has by its header; 0 if that cannot be told, as behind a URL."""
    content = content_of(call.input)
    with call.trace.time("queue"):
        seconds = await duration_of(content) if content is not None else None
    return _sent_seconds(call, seconds or 0.0) / 60


def _sent_seconds(call: UpstreamCall, ends: float) -> float:
    """Seconds of media that are embedded, of those up to this end."""
    begins = call.input.start_offset_sec if isinstance(call.input, AudioInput) else None
    return max(0.0, ends - (begins or 0.0))
