"""Cache policy: a result that is stored is returned without an upstream request."""

from embedwire_server.core.results import CacheStatus, ReplySummary, Segment
from embedwire_server.policies.cache.entry import CachedSegment, Entry
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.policies.cache.store import ResultStore
from embedwire_server.upstreams.base import EmbedCall, Emit, Upstream

MAX_ENTRY_BYTES = 4 << 20  # vectors of one result; a larger one is not stored


class CachePolicy:
    """Middleware that returns stored results, and stores new ones; see `Upstream`.

    A hit waits for no slot and no rate limit. A result is stored only after its last segment was passed on. One that
    an inner policy has coalesced is not stored again: `CoalescingPolicy` has stored it.

    Args:
        upstream: the next one.
        keys: computes the keys.
        store: has the results.
    """

    def __init__(self, upstream: Upstream, keys: ResultKeys, store: ResultStore) -> None:
        self._upstream = upstream
        self._keys = keys
        self._store = store

    async def embed(self, call: EmbedCall, emit: Emit) -> ReplySummary:
        """Embed one input, or return its stored result."""
        key = await self._keys.of(call)
        if key is None:
            return await self._upstream.embed(call, emit)
        entry = await self._store.get(key)
        if entry is None:
            return await self._compute(key, call, emit)
        call.cache_status, call.upstream = CacheStatus.HIT, entry.upstream
        await emit(entry.copies())
        return entry.summary(call.input)

    async def _compute(self, key: bytes, call: EmbedCall, emit: Emit) -> ReplySummary:
        call.cache_status = CacheStatus.MISS
        copy = _Copy(emit)
        summary = await self._upstream.embed(call, copy.emit)
        if copy.is_complete and call.cache_status is CacheStatus.MISS and not call.is_abandoned:
            self._store.put(key, Entry.of(copy.segments, call.upstream, summary))
        return summary


class _Copy:
    """Copies the segments of one input as they are passed on, up to `MAX_ENTRY_BYTES`."""

    __slots__ = ("_emit", "_size", "segments")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._size = 0
        self.segments: list[CachedSegment] = []

    @property
    def is_complete(self) -> bool:
        return self._size <= MAX_ENTRY_BYTES

    async def emit(self, segments: list[Segment]) -> None:
        self._size += sum(len(segment.vector) + len(segment.uncertainty or b"") for segment in segments)
        if self.is_complete:
            self.segments += map(CachedSegment.of, segments)
        else:
            self.segments.clear()
        await self._emit(segments)
