"""The store in memory: least recently used, limited in bytes, expiring."""

import pytest

from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache.memory_store import ENTRY_BYTES, MemoryStore
from tests.support.embed_calls import sample
from tests.support.serving import settings_of
from tests.unit.policies.cache.support import entry

SIZE = 3000  # of one text, about


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def number(key: int) -> bytes:
    return key.to_bytes(32, "little")


async def present(store: MemoryStore, *keys: int) -> list[bool]:
    return [await store.get(number(key)) is not None for key in keys]


async def test_least_recently_used() -> None:
    """A full cache evicts the result that was not used for the longest time; metrics count it."""
    metrics = Metrics("fake")
    store = MemoryStore(3 * 4000, 60, metrics)
    for key in range(3):
        store.put(number(key), entry())
    assert await present(store, 0) == [True]
    store.put(number(3), entry())
    assert await present(store, 0, 1, 2, 3) == [True, False, True, True]
    assert sample(metrics, "embedwire_cache_evictions_total") == 1
    assert sample(metrics, "embedwire_cache_entries") == 3
    assert 3 * (2048 + ENTRY_BYTES) < sample(metrics, "embedwire_cache_bytes") <= 3 * 4000


async def test_replaced() -> None:
    """A result that is stored again replaces the earlier one, and is counted once."""
    metrics = Metrics("fake")
    store = MemoryStore(100_000, 60, metrics)
    store.put(number(1), entry(1.0))
    before = sample(metrics, "embedwire_cache_bytes")
    store.put(number(1), entry(2.0))
    assert await store.get(number(1)) == entry(2.0)
    assert sample(metrics, "embedwire_cache_bytes") == before


async def test_too_large() -> None:
    """A result that is larger than the cache is not stored, and evicts nothing."""
    store = MemoryStore(10_000, 60, Metrics("fake"))
    store.put(number(1), entry())
    store.put(number(2), entry(segments=10))
    assert await present(store, 1, 2) == [True, False]


async def test_expiry() -> None:
    """A result expires at its maximum age, whether it is used or not, and is removed then."""
    clock, metrics = Clock(), Metrics("fake")
    store = MemoryStore(100_000, 60, metrics, clock)
    store.put(number(1), entry())
    clock.now = 59.9
    assert await present(store, 1) == [True]
    clock.now = 60
    assert await present(store, 1) == [False]
    assert sample(metrics, "embedwire_cache_entries") == 0


async def test_reload() -> None:
    """New limits apply to stored results: a smaller cache evicts, a shorter age expires."""
    clock, metrics = Clock(), Metrics("fake")
    store = MemoryStore(100_000, 60, metrics, clock)
    for key in range(5):
        store.put(number(key), entry())
    store.reconfigure(settings_of(cache_max_bytes=2 * 4000, cache_max_age=60))
    assert await present(store, *range(5)) == [False, False, False, True, True]
    assert sample(metrics, "embedwire_cache_entries") == 2
    clock.now = 10
    store.reconfigure(settings_of(cache_max_bytes=100_000, cache_max_age=20))
    assert await present(store, 3, 4) == [True, True]
    clock.now = 20
    store.put(number(5), entry())
    assert await present(store, 3, 4, 5) == [False, False, True]


@pytest.mark.parametrize("segments", [1, 3])
async def test_hit_has_the_stored_entry(segments: int) -> None:
    """What was stored is returned, equal in every field."""
    store = MemoryStore(100_000, 60, Metrics("fake"))
    store.put(number(1), entry(segments=segments))
    assert await store.get(number(1)) == entry(segments=segments)
