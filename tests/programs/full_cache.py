"""Fills a result cache in memory, replaces all its results, and prints its resident memory and its own count.

Arguments: values of a vector, segments of a result, maximum size in bytes. Prints two numbers of bytes.
"""

import gc
import hashlib
import itertools
import json
import os
import sys
from pathlib import Path

from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache.entry import CachedSegment, Entry
from embedwire_server.policies.cache.memory_store import MemoryStore

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def result(dimensions: int, segments: int) -> Entry:
    """Return a result with objects of its own, as a decoder makes them."""
    found = [
        CachedSegment.of(Segment(os.urandom(4 * dimensions), float(start), start + 6.0)) for start in range(segments)
    ]
    name, kind = json.loads('["marengo3.0", "text"]')
    return Entry.of(found, "custom", ReplySummary(name, truncated=False, input_tokens={kind: 1000 + os.getpid()}))


def main() -> None:
    """Fill a cache twice."""
    dimensions, segments, max_bytes = map(int, sys.argv[1:])
    metrics = Metrics("custom")
    store, before = MemoryStore(max_bytes, 1e6, metrics), resident()
    stored = 0
    for number in itertools.count():
        store.put(hashlib.sha256(str(number).encode()).digest(), result(dimensions, segments))
        stored += metrics.cache_evictions.value == 0
        if metrics.cache_evictions.value > stored:
            break
    counted = metrics.registry.get_sample_value("embedwire_cache_bytes") or 0.0
    print(resident() - before, int(counted))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
