"""Panels of the state that replicas share, and of the cache."""

from deploy.monitoring.panel import Panel, Query, Row, each, quantiles, rate, total

SHARED_QUOTA = Row(
    "Shared quota and Redis",
    (
        Panel(
            "Servers by use of the quota",
            "Servers that share the rate limits through Redis, and servers that use their part of them, because Redis "
            "is unavailable. None without a quota store.",
            "short",
            (
                Query("sum(embedwire_quota_shared{$server})", "shared"),
                Query("sum(1 - embedwire_quota_shared{$server})", "divided"),
            ),
            ("EmbedwireQuotaNotShared",),
            is_stacked=True,
        ),
        Panel(
            "Redis operations",
            "Operations that succeeded, by use.",
            "ops",
            (rate("embedwire_redis_operation_seconds_count", "use"),),
            is_stacked=True,
        ),
        Panel(
            "Duration of Redis operations",
            "Operations that succeeded, by use; one that takes more than 50 ms fails.",
            "s",
            quantiles("embedwire_redis_operation_seconds", "use"),
            ("EmbedwireQuotaNotShared", "EmbedwireCacheUnavailable"),
        ),
        Panel(
            "Failed Redis operations",
            "By use and reason: timeout (50 ms), connection, full (maxmemory) or other. After each, the server works "
            "without Redis until it answers again.",
            "ops",
            (rate("embedwire_redis_errors_total", "use, reason"),),
            ("EmbedwireQuotaNotShared", "EmbedwireCacheUnavailable"),
            is_stacked=True,
        ),
    ),
)

CACHE = Row(
    "Cache",
    (
        Panel(
            "Inputs by cache status",
            "Inputs whose results may be reused: hit (from the cache), coalesced (with the request of an identical "
            "input) and miss.",
            "ops",
            (rate("embedwire_cache_inputs_total", "modality, status"),),
            ("EmbedwireCacheUnavailable",),
            is_stacked=True,
        ),
        Panel(
            "Cache in memory",
            "Size of the results in each process; at most cache.max_bytes. 0 if Redis is the cache.",
            "bytes",
            (each("embedwire_cache_bytes"),),
        ),
        Panel(
            "Removed results",
            "Results that were removed because the cache in memory was full, and results from Redis that were "
            "discarded because they are damaged or of another version.",
            "ops",
            (
                total("embedwire_cache_evictions_total", "evicted"),
                total("embedwire_cache_discarded_entries_total", "discarded"),
            ),
        ),
    ),
)
