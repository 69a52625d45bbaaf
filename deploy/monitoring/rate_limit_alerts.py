"""Alerts for rate limits and quotas, of the upstream and configured."""

from deploy.monitoring.alert import Alert

_INPUTS = "sum by (namespace, job, modality) (job_modality_reason:embedwire_inputs:rate5m)"
_QUEUE = "embedwire_rate_limit_queue_length[5m]"

ALERTS = (
    Alert(
        name="EmbedwireUpstreamQuotaExhausted",
        party="upstream",
        severity="critical",
        condition="More than 5 % of the inputs of a modality fail because of a quota or a limit of a day.",
        expression="(sum by (namespace, job, modality)"
        ' (job_modality_reason:embedwire_inputs:rate5m{reason="UPSTREAM_QUOTA_EXHAUSTED"})\n'
        "or\n"
        "sum by (namespace, job, modality, limit)"
        ' (rate(embedwire_rate_limit_rejections_total{limit=~".+ per day"}[5m])))\n'
        "  / on (namespace, job, modality) group_left ()\n"
        f"{_INPUTS}\n"
        "  > 0.05",
        for_="5m",
        summary="The quota of Embedwire {{ $labels.job }} for {{ $labels.modality }} is used up",
        description="Inputs fail because the account at the upstream has no credit left, or because the configured "
        "limit of a day is used up{{ with $labels.limit }} ({{ . }}){{ end }}.",
        meaning="""
            Without the label `limit`, the upstream reports that the account has no credit left
            (`UPSTREAM_QUOTA_EXHAUSTED`): waiting does not help. With it, the daily limit of `rate_limits` is
            used up and calls fail with `RATE_LIMITED` until usage of the last 24 hours leaves the window.
        """,
        look="""
            Who uses the quota, if the server has tokens.

            ```promql
            topk(5, sum by (namespace, job, client, modality) (increase(embedwire_client_inputs_total[1d])))
            ```

            What remains of each limit in each replica. `upstream` is what the last response reported, for all that
            use the key.

            ```promql
            embedwire_rate_limit_remaining / embedwire_rate_limit_amount
            ```

            - The status page: when the quota of each modality resets.
        """,
        actions="""
            - No credit: add credit to the account, or change the plan.
            - Daily limit: compare `rate_limits` with the plan, divided by the number of replicas unless they share it
              (`quota.store`). A raised limit applies after a reload.
            - Limit a caller that uses too much: `inputs_per_minute` of its token.
        """,
    ),
    Alert(
        name="EmbedwireUpstreamRateLimited",
        party="upstream",
        severity="warning",
        condition="More than 5 % of the upstream requests of a modality are answered with 429.",
        expression="sum by (namespace, job, modality)"
        ' (job_modality_reason:embedwire_upstream_requests:rate5m{reason="UPSTREAM_RATE_LIMITED"})\n'
        "  / sum by (namespace, job, modality) (job_modality_reason:embedwire_upstream_requests:rate5m)\n"
        "  > 0.05",
        for_="10m",
        summary="The upstream rate-limits {{ $labels.modality }} of Embedwire {{ $labels.job }}",
        description="The upstream answers {{ $value | humanizePercentage }} of the requests for {{ $labels.modality }} "
        "with 429, so the configured rate limits are higher than the plan, or are not set.",
        meaning="""
            The server sends more than the plan allows. It backs off after each 429, and inputs wait. Inputs
            that cannot wait fail with `UPSTREAM_RATE_LIMITED` or `RATE_LIMITED`.
        """,
        look="""
            Back-offs by replica. All replicas with one key use one quota, and know of each other only with
            `quota.store`.

            ```promql
            sum by (namespace, job, instance, modality) (rate(embedwire_rate_limit_backoffs_total[5m])) > 0
            ```

            Requests that were sent in a minute; compare with `rate_limits` and with the plan.

            ```promql
            sum by (namespace, job, modality) (increase(embedwire_upstream_requests_total[1m]))
            ```

            What remains of each limit in each replica. `upstream` is what the last response reported, for all that
            use the key.

            ```promql
            embedwire_rate_limit_remaining / embedwire_rate_limit_amount
            ```

            - The status page: when the quota of each modality resets.
        """,
        actions="""
            - Set `rate_limits` to the limits of the plan, divided by the number of replicas unless they share it
              (`quota.store`). Inputs then wait in the server, in a fair order, instead of failing at the upstream.
            - Check whether other programs use the same key.
            - If the demand is right, ask the upstream for a higher limit.
        """,
    ),
    Alert(
        name="EmbedwireRateLimitRejections",
        party="policy",
        severity="warning",
        condition="More than 5 % of the inputs of a modality are rejected with `RATE_LIMITED`, by limit.",
        expression="sum by (namespace, job, modality, limit)"
        ' (rate(embedwire_rate_limit_rejections_total{limit!~".+ per day"}[5m]))\n'
        "  / on (namespace, job, modality) group_left ()\n"
        f"{_INPUTS}\n"
        "  > 0.05",
        for_="10m",
        summary="Embedwire {{ $labels.job }} rejects {{ $labels.modality }}: a rate limit outlasts the deadlines",
        description="{{ $value | humanizePercentage }} of the inputs of {{ $labels.modality }} are rejected with "
        "RATE_LIMITED, because {{ $labels.limit }} allows them only after their deadline.",
        meaning="""
            Callers send more than a rate limit allows. The server knows that an input would wait beyond its
            deadline and rejects it immediately. The label `limit` names the configured limit, or `upstream` for a
            back-off that the upstream asked for.
        """,
        look="""
            How long inputs wait that are not rejected.

            ```promql
            job_modality:embedwire_rate_limit_wait_seconds:p99_rate5m
            ```

            Which caller sends them, if the server has tokens.

            ```promql
            topk(5, sum by (namespace, job, client, modality) (rate(embedwire_client_inputs_total[5m])))
            ```

            What remains of each limit in each replica. `upstream` is what the last response reported, for all that
            use the key.

            ```promql
            embedwire_rate_limit_remaining / embedwire_rate_limit_amount
            ```

            - The status page: when the quota of each modality resets.
        """,
        actions="""
            - `limit` is a configured one: compare it with the plan. Raise it if the plan allows more; a reload
              applies it.
            - `limit` is `upstream`: see [EmbedwireUpstreamRateLimited](#embedwireupstreamratelimited).
            - Ask callers for longer deadlines, or to spread their load. Bulk jobs should use the client's
              `map`, which obeys the retry delays.
        """,
    ),
    Alert(
        name="EmbedwireRateLimitQueueGrowing",
        party="policy",
        severity="warning",
        condition="The queue for the rate limits is longer than 10 minutes ago by more than 10 inputs.",
        expression=f"sum by (namespace, job, modality) (min_over_time({_QUEUE}))\n"
        "  > 10 +\n"
        f"sum by (namespace, job, modality) (max_over_time({_QUEUE} offset 10m))",
        for_="10m",
        summary="More and more {{ $labels.modality }} of Embedwire {{ $labels.job }} waits for a rate limit",
        description="At least {{ $value | humanize }} inputs have waited for the rate limits in the last 5 minutes, "
        "more than ever in the 5 minutes that ended 10 minutes ago.",
        meaning="""
            Inputs arrive faster than the rate limits allow, and the queue grows. Latency grows with it, and
            inputs will be rejected once the wait exceeds their deadlines. A queue of constant length is normal
            for a bulk job.
        """,
        look="""
            The queue, and the wait of those that left it.

            ```promql
            sum by (namespace, job, modality) (embedwire_rate_limit_queue_length)
            ```

            ```promql
            job_modality:embedwire_rate_limit_wait_seconds:p99_rate5m
            ```

            What remains of each limit in each replica. `upstream` is what the last response reported, for all that
            use the key.

            ```promql
            embedwire_rate_limit_remaining / embedwire_rate_limit_amount
            ```

            - The status page: when the quota of each modality resets.
        """,
        actions="""
            - Find the caller whose load has risen: `embedwire_client_inputs_total` by `client`.
            - Compare `rate_limits` with the plan, and raise them if the plan allows more.
            - Limit a single caller: `inputs_per_minute` of its token.
        """,
    ),
)
