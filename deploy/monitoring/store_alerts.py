"""Alerts for Redis: the shared quota and the cache. Calls continue without them."""

from deploy.monitoring.alert import Alert


def _is_missing(gauge: str) -> str:
    """Return the condition that a gauge was 0 for more than a fifth of 5 minutes; its value is a number of servers."""
    return f"sum by (namespace, job) (avg_over_time({gauge}[5m]) < bool 0.8) > 0"


_ERRORS = """
            Why operations fail, and in which replicas. One replica alone points to its network.

            ```promql
            sum by (namespace, job, instance, reason) (rate(embedwire_redis_errors_total{{use="{use}"}}[5m])) > 0
            ```
"""

ALERTS = (
    Alert(
        name="EmbedwireQuotaNotShared",
        party="server",
        severity="warning",
        condition="A server cannot use the quota store for more than a fifth of the time.",
        expression=_is_missing("embedwire_quota_shared"),
        for_="5m",
        summary="{{ $value }} servers of Embedwire {{ $labels.job }} do not share the quota",
        description="The quota store is unavailable. Each server uses the rate limits divided by `quota.replicas`.",
        meaning="""
            The quota store does not answer within 50 ms: Redis of `quota.store`, or the supervisor of the workers if
            that is not set. No call fails because of it, but a server uses only its part of the rate limits, also if
            the others need less than theirs. Its callers wait longer, or are rejected with `RATE_LIMITED`. If
            `quota.replicas` is less than the number of servers, they exceed the quota together.
        """,
        look=_ERRORS.format(use="quota")
        + """
            How long the operations take that succeed.

            ```promql
            histogram_quantile(0.99, sum by (namespace, job, le)
              (rate(embedwire_redis_operation_seconds_bucket{use="quota"}[5m])))
            ```

            - The log: `Redis is unavailable`, with the reason. `/readyz` and the status page state the mode.
        """,
        actions="""
            - `connection`: is Redis running, and reachable from the servers? Check its address, TLS, password and the
              network policy, and its limit of clients (`maxclients`).
            - `timeout`: Redis is busy or far away. Look for slow commands of other programs (`SLOWLOG GET`) and for
              swapping; see [capacity planning](capacity.md).
            - `full`: raise `maxmemory`, or give the cache a Redis of its own.
            - `other`: the log has the class of the error; check version, user rights and that it is no Redis Cluster.
        """,
    ),
    Alert(
        name="EmbedwireCacheUnavailable",
        party="server",
        severity="warning",
        condition="A server cannot use Redis as its cache for more than a fifth of the time.",
        expression=_is_missing('embedwire_redis_up{use="cache"}'),
        for_="10m",
        summary="{{ $value }} servers of Embedwire {{ $labels.job }} have no cache",
        description="Redis of the cache is unavailable. Each lookup is a miss, so more requests are sent and billed.",
        meaning="""
            Redis of `cache.store` does not answer within 50 ms, or rejects operations. No call fails because of it, but
            results that were cached are requested from the upstream again.
        """,
        look=_ERRORS.format(use="cache")
        + """
            What the cache has saved before.

            ```promql
            sum by (namespace, job, modality, status) (rate(embedwire_cache_inputs_total[5m]))
            ```

            - The log: `Redis is unavailable`, with the reason.
        """,
        actions="""
            - `connection` and `timeout`: see [EmbedwireQuotaNotShared](#embedwirequotanotshared).
            - `full`: set `maxmemory-policy` of that Redis to `allkeys-lru`, so that it evicts old results.
            - If the upstream cannot take the additional requests, the rate limits delay or reject them.
        """,
    ),
)
