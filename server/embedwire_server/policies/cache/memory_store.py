"""Store of results in the memory of this process."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from cachetools import LRUCache

from embedwire_server.config.settings import Settings
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache.entry import Entry

# Bytes of an entry besides its vectors: the key, the tuples, and its places in the mappings of the cache. Measured as
# resident memory of a full cache (tests/unit/policies/cache/test_memory_size.py).
ENTRY_BYTES = 800
SEGMENT_BYTES = 300


class MemoryStore:
    """Keeps the most recently used results, up to a number of bytes; see `ResultStore`.

    Args:
        max_bytes: maximum size, with all overhead.
        max_age: seconds after which a result expires.
        metrics: show size and evictions.
        clock: returns seconds.
    """

    def __init__(
        self, max_bytes: int, max_age: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_age = max_age
        self._clock = clock
        self._evicted = metrics.cache_evictions.inc
        self._entries = _LeastRecentlyUsed(max_bytes, self._evicted)
        metrics.cache_bytes.set_function(lambda: self._entries.currsize)
        metrics.cache_entries.set_function(lambda: len(self._entries))

    def reconfigure(self, settings: Settings) -> None:
        """Apply the limits of these settings, to stored results as well."""
        self._max_age = settings.cache.max_age
        if settings.cache.max_bytes != self._entries.maxsize:
            self._resize(settings.cache.max_bytes)

    def _resize(self, max_bytes: int) -> None:
        """Move the results into a cache of this size. cachetools does not change the size of a cache."""
        before, self._entries = self._entries, _LeastRecentlyUsed(max_bytes, self._evicted)
        for key, timed in before.items():
            self._entries.add(key, timed)

    async def get(self, key: bytes) -> Entry | None:
        """Return a result; see `ResultStore`. Never suspends."""
        timed = self._entries.get(key)
        if timed is None:
            return None
        if self._clock() - timed.stored_at >= self._max_age:
            del self._entries[key]
            return None
        return timed.entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Store a result, and evict others if that is necessary; see `ResultStore`."""
        self._entries.add(key, _Timed(entry, self._clock()))


class _Timed(NamedTuple):
    entry: Entry
    stored_at: float


class _LeastRecentlyUsed(LRUCache[bytes, _Timed]):
    """The library's cache; it counts evictions."""

    def __init__(self, max_bytes: int, evicted: Callable[[], object]) -> None:
        super().__init__(max_bytes, getsizeof=_size)
        self._evicted = evicted

    def popitem(self) -> tuple[bytes, _Timed]:
        self._evicted()
        return super().popitem()

    def add(self, key: bytes, timed: _Timed) -> None:
        """Add an entry, unless it is larger than the cache."""
        if _size(timed) <= self.maxsize:
            self[key] = timed


def _size(timed: _Timed) -> int:
    segments = timed.entry.segments
    vectors = sum(sys.getsizeof(segment.vector) + sys.getsizeof(segment.uncertainty) for segment in segments)
    return ENTRY_BYTES + SEGMENT_BYTES * len(segments) + vectors
