"""Panels of the upstream: requests, rate limits, retries."""

from deploy.monitoring.panel import Panel, Query, Row, each, gauge, quantiles, rate, total

UPSTREAM = Row(
    "Upstream",
    (
        Panel(
            "Upstream requests by reason",
            "Requests that were sent to the upstream, by reason of failure (OK without one). Retries count.",
            "reqps",
            (rate("embedwire_upstream_requests_total", "reason"),),
            ("EmbedwireUpstreamFailing", "EmbedwireUpstreamCredentialsRejected"),
            is_stacked=True,
        ),
        Panel(
            "Duration of upstream requests",
            "From the first byte sent to the last byte received.",
            "s",
            quantiles("embedwire_upstream_request_duration_seconds", "modality"),
            ("EmbedwireUpstreamNotAnswering",),
        ),
        Panel(
            "Connection failures by cause",
            "Attempts without a connection to the upstream, or without a valid HTTP response.",
            "ops",
            (rate("embedwire_upstream_connection_failures_total", "cause"),),
            ("EmbedwireUpstreamUnreachable",),
            is_stacked=True,
        ),
        Panel(
            "Assets",
            "Files at the upstream that were deleted, and deletions that failed. The cleanup job repeats these.",
            "ops",
            (
                total("embedwire_assets_deleted_total", "deleted"),
                total("embedwire_asset_deletions_failed_total", "failed"),
            ),
            ("EmbedwireAssetDeletionsFailed",),
        ),
    ),
)

RATE_LIMITS = Row(
    "Rate limits",
    (
        Panel(
            "Remaining rate limits",
            "What the configured limits, and the upstream by its last response, still allow: the share of the limit "
            "in the process that has least.",
            "percentunit",
            (
                Query(
                    "min by (modality, limit) "
                    "(embedwire_rate_limit_remaining{$server} / embedwire_rate_limit_amount{$server})",
                    "{{modality}}: {{limit}}",
                ),
            ),
            ("EmbedwireUpstreamQuotaExhausted",),
        ),
        Panel(
            "Inputs that wait for rate limits",
            "Queue of the configured rate limits and of those that the upstream reports.",
            "short",
            (gauge("embedwire_rate_limit_queue_length", "modality"),),
            ("EmbedwireRateLimitQueueGrowing",),
        ),
        Panel(
            "Wait for rate limits",
            "Time that an attempt waited for the rate limits of the upstream.",
            "s",
            quantiles("embedwire_rate_limit_wait_seconds", "modality"),
        ),
        Panel(
            "Back-offs and rejections by rate limits",
            "Back-offs that the upstream requested (429, or an exhausted quota), and inputs that were rejected because "
            "a limit outlasts their deadline.",
            "ops",
            (
                rate("embedwire_rate_limit_backoffs_total", "modality", "back-off {{modality}}"),
                rate("embedwire_rate_limit_rejections_total", "modality, limit", "rejected {{modality}}: {{limit}}"),
            ),
            ("EmbedwireUpstreamRateLimited", "EmbedwireRateLimitRejections", "EmbedwireUpstreamQuotaExhausted"),
        ),
    ),
)

RETRIES = Row(
    "Retries",
    (
        Panel(
            "Retries by reason",
            "By the reason of failure of the previous attempt.",
            "ops",
            (rate("embedwire_retries_total", "reason"),),
            is_stacked=True,
        ),
        Panel(
            "Suppressed retries by cause",
            "Retries that were not made: attempts (retry.max_attempts), deadline of the call, or retry budget. "
            "Suppression by the budget means that most attempts fail.",
            "ops",
            (rate("embedwire_retries_suppressed_total", "cause"),),
            ("EmbedwireRetryBudgetExhausted",),
            is_stacked=True,
        ),
        Panel(
            "Retry budget",
            "Retries left in each process; at 0, failures are returned without a retry.",
            "short",
            (each("embedwire_retry_budget_tokens"),),
            ("EmbedwireRetryBudgetExhausted",),
        ),
    ),
)
