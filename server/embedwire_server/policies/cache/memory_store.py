"""Store of results in the memory of this process."""

import math
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
        self._max_bytes = max_bytes  # not that of the library's cache, which cannot be changed
        self._max_age = max_age
        self._clock = clock
        self._evicted = metrics.cache_evictions.inc
        self._entries: LRUCache[bytes, _Timed] = LRUCache(math.inf, getsizeof=_size)
        metrics.cache_bytes.set_function(lambda: self._entries.currsize)
        metrics.cache_entries.set_function(lambda: len(self._entries))

    def reconfigure(self, settings: Settings) -> None:
        """Apply the limits of these settings, to stored results as well."""
        self._max_bytes, self._max_age = settings.cache.max_bytes, settings.cache.max_age
        self._evict()

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
        """Store a result, unless it is larger than the cache, and evict others; see `ResultStore`."""
        timed = _Timed(entry, self._clock())
        if _size(timed) <= self._max_bytes:
            self._entries[key] = timed
            self._evict()

    def _evict(self) -> None:
        """Remove the least recently used results that exceed the limit."""
        while self._entries.currsize > self._max_bytes:
            self._entries.popitem()
            self._evicted()


class _Timed(NamedTuple):
    entry: Entry
    stored_at: float


def _size(timed: _Timed) -> int:
    segments = timed.entry.segments
    vectors = sum(sys.getsizeof(segment.vector) + sys.getsizeof(segment.uncertainty) for segment in segments)
    return ENTRY_BYTES + SEGMENT_BYTES * len(segments) + vectors
