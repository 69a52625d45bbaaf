"""Metrics of the result cache."""

from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from embedwire_server.core.models import Modality
from embedwire_server.core.results import CacheStatus
from embedwire_server.observability.counters import CounterFamily


class CacheMetrics:
    """Part of `Metrics`: results that are reused."""

    def _cache(self, registry: CollectorRegistry) -> None:
        counter = partial(CounterFamily, registry=registry)
        self.cache_inputs = counter(
            "embedwire_cache_inputs",
            "Inputs whose results may be reused, by whether they were: hit, coalesced or miss.",
            ("modality", "status"),
        )
        for modality in Modality:
            for status in CacheStatus:
                self.cache_inputs.labels(modality, status)
        self.cache_bytes = Gauge("embedwire_cache_bytes", "Size of the results in memory.", registry=registry)
        self.cache_entries = Gauge("embedwire_cache_entries", "Results in memory.", registry=registry)
        self.cache_evictions = counter(
            "embedwire_cache_evictions", "Results in memory that were removed because the cache was full.", ()
        ).labels()
        self.cache_discarded = counter(
            "embedwire_cache_discarded_entries",
            "Results from Redis that were discarded because they are damaged or of another version.",
            (),
        ).labels()
