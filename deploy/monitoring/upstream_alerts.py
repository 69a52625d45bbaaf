"""Alerts for faults of the upstream, or of the connection to it."""

from deploy.monitoring.alert import Alert

_CONNECTIONS = "job_cause:embedwire_upstream_connection_failures:per_input"
# Without those that have an alert of their own: credentials, quota and rate limit.
_FAILURES = (
    "UPSTREAM_UNAVAILABLE|UPSTREAM_TIMEOUT|UPSTREAM_CONFLICT|UPSTREAM_PERMISSION_DENIED"
    "|UPSTREAM_MALFORMED_REPLY|UPSTREAM_INCOMPATIBLE"
)


def _share(window: str) -> str:
    inputs = f"job_modality_reason:embedwire_inputs:rate{window}"
    return f'(sum by (namespace, job) ({inputs}{{reason=~"{_FAILURES}"}})\n  / sum by (namespace, job) ({inputs}))'


def _unanswered(window: str) -> str:
    requests = f"job_modality_reason:embedwire_upstream_requests:rate{window}"
    return (
        f'sum by (namespace, job) ({requests}{{reason="DEADLINE_EXCEEDED"}})\n  / sum by (namespace, job) ({requests})'
    )


# Shares of few inputs are large: a number of failures in an hour, too, so that a single input calls no operator.
_UNCONNECTED = "sum by (namespace, job, cause) (increase(embedwire_upstream_connection_failures_total[1h]))"
_FAILED = f'3600 * sum by (namespace, job) (job_modality_reason:embedwire_inputs:rate1h{{reason=~"{_FAILURES}"}})'
_UNANSWERED = (
    "3600 * sum by (namespace, job) "
    '(job_modality_reason:embedwire_upstream_requests:rate1h{reason="DEADLINE_EXCEEDED"})'
)

ALERTS = (
    Alert(
        name="EmbedwireUpstreamUnreachable",
        party="upstream",
        severity="critical",
        condition="For each input, more than 0.1 connections of 5 minutes and 0.05 of an hour fail, by cause; more "
        "than 10 in an hour.",
        expression=f"{_CONNECTIONS}5m > 0.1 and {_CONNECTIONS}1h > 0.05\nand\n{_UNCONNECTED} > 10",
        for_="2m",
        summary="Embedwire {{ $labels.job }} cannot reach its upstream: {{ $labels.cause }}",
        description="{{ $value | humanize }} connections to the upstream fail for each input, "
        "with the cause {{ $labels.cause }}. Inputs fail with UPSTREAM_UNAVAILABLE.",
        meaning="""
            The server gets no connection to the upstream, or the connection ends before a valid HTTP response.
            The label `cause` names the reason: name resolution, network, proxy, TLS or the upstream's own port.
            Callers get `UPSTREAM_UNAVAILABLE` with the same cause; `not_http` is `UPSTREAM_MALFORMED_REPLY`.
        """,
        look="""
            Which replicas are affected? One alone points to its node or network, all of them to the upstream,
            a proxy or the configuration.

            ```promql
            sum by (namespace, job, instance, cause) (rate(embedwire_upstream_connection_failures_total[5m])) > 0
            ```

            - The log line `upstream request failed` with this `embedwire.cause`: its message says what to
              check. There is at most one in 10 s for each cause.
            - The status page: which upstream is configured, and the recent failures.
        """,
        actions="""
            - Look the cause up in [the list of causes](troubleshooting.md#the-upstream-cannot-be-reached).
            - For a name, a certificate or a plaintext port: correct `upstream.url`, `upstream.ca` or
              `upstream.proxy`, then restart. Such causes are not retried.
            - For a refused connection, a timeout or a route: check egress rules and the upstream's own status
              page. The server stays ready and recovers with the upstream; do not restart it.
        """,
    ),
    Alert(
        name="EmbedwireUpstreamFailing",
        party="upstream",
        severity="critical",
        condition="More than 5 % of the inputs of 5 minutes and of an hour fail at an upstream that can be reached; "
        "more than 3 in an hour.",
        expression=f"({_share('5m')} > 0.05\nand\n{_share('1h')} > 0.05\nand\n{_FAILED} > 3)\n"
        f"unless on (namespace, job) {_CONNECTIONS}5m > 0.1",
        for_="2m",
        summary="{{ $value | humanizePercentage }} of inputs of Embedwire {{ $labels.job }} fail at the upstream",
        description="The upstream can be reached, but {{ $value | humanizePercentage }} of all inputs fail because of "
        "it, after all retries.",
        meaning="""
            The upstream answers with server errors, timeouts, conflicts or responses that the server cannot
            use. Failures of a minute are too few for the share of an hour, and fire no alert. A rate limit, a quota,
            a rejected key and a missing connection have their own alerts.
        """,
        look="""
            The reason, and whether it affects one modality.

            ```promql
            sum by (namespace, job, modality, reason)
              (job_modality_reason:embedwire_inputs:rate5m{reason=~"UPSTREAM_.+"}) > 0
            ```

            Whether all versions of the upstream's API are affected.

            ```promql
            sum by (namespace, job, endpoint, reason)
              (rate(embedwire_upstream_requests_total{reason!~"OK|CANCELLED"}[5m])) > 0
            ```

            - Log lines of calls with this `embedwire.reason`: `embedwire.upstream_trace_id` is the identifier
              for the upstream's support.
            - The status page: recent failures with their request ids.
        """,
        actions="""
            - `UPSTREAM_UNAVAILABLE`, `UPSTREAM_TIMEOUT`, `UPSTREAM_CONFLICT`: check the upstream's own status
              page, and report the trace ids. The server retries where that is safe, and recovers with the
              upstream.
            - `UPSTREAM_MALFORMED_REPLY`: check that `upstream.url` is the API and not a web page or a proxy.
            - `UPSTREAM_INCOMPATIBLE`: check path and version of `upstream.url`; the message may name
              `upstream.api_version`.
            - `UPSTREAM_PERMISSION_DENIED`: check plan, region and ownership in the account of the server's key.
        """,
    ),
    Alert(
        name="EmbedwireUpstreamNotAnswering",
        party="upstream",
        severity="critical",
        condition="More than 20 % of the upstream requests of 5 minutes and of an hour last until the call's deadline; "
        "more than 3 in an hour.",
        expression=f"{_unanswered('5m')} > 0.2\nand\n{_unanswered('1h')} > 0.2\nand\n{_UNANSWERED} > 3",
        for_="2m",
        summary="The upstream does not answer Embedwire {{ $labels.job }} in time",
        description="{{ $value | humanizePercentage }} of the requests were at the upstream when the deadline of their "
        "call passed. Calls end with DEADLINE_EXCEEDED.",
        meaning="""
            The upstream accepts requests, and does not answer or is very slow. There is no error that could be
            retried. It is a fault of callers only if they have set deadlines that are too short.
        """,
        look="""
            How long upstream requests take. The value of a hanging upstream is the deadline of the callers.

            ```promql
            job_modality:embedwire_upstream_request_duration_seconds:p99_rate5m
            ```

            Whether all endpoints are affected.

            ```promql
            sum by (namespace, job, endpoint, modality, reason)
              (rate(embedwire_upstream_requests_total{reason=~"OK|DEADLINE_EXCEEDED"}[5m])) > 0
            ```

            - The log line of a call: `embedwire.upstream.duration` is the part of its duration that was spent at
              the upstream.
        """,
        actions="""
            - Check the upstream's own status page. Slots of the concurrency limit are held meanwhile, so other calls
              may be rejected with `OVERLOADED`.
            - If it began with a release of a caller, compare its deadline with the usual duration of requests.
        """,
    ),
    Alert(
        name="EmbedwireUpstreamCredentialsRejected",
        party="upstream",
        severity="critical",
        condition="Inputs fail with `UPSTREAM_CREDENTIALS`.",
        expression="sum by (namespace, job)"
        ' (job_modality_reason:embedwire_inputs:rate5m{reason="UPSTREAM_CREDENTIALS"}) > 0',
        for_="5m",
        summary="The upstream rejects the key of Embedwire {{ $labels.job }}",
        description="Inputs fail with UPSTREAM_CREDENTIALS: the upstream does not accept the server's API key.",
        meaning="""
            The upstream answers 401 to the server's own key. All callers without a key of their own are
            affected. A rejected key of a caller is `CALLER_UPSTREAM_CREDENTIALS` and does not count here.
        """,
        look="""
            Which replicas are affected? One alone has an old Secret or environment.

            ```promql
            sum by (namespace, job, instance) (rate(embedwire_inputs_total{reason="UPSTREAM_CREDENTIALS"}[5m])) > 0
            ```

            - `embedwire-server config show` on the replica: the source of `upstream.api_key`; it is masked.
        """,
        actions="""
            - Check at the upstream whether the key was revoked or has expired.
            - Correct `TWELVELABS_API_KEY` (or the Secret that holds it), and restart the server.
        """,
    ),
    Alert(
        name="EmbedwireRetryBudgetExhausted",
        party="upstream",
        severity="warning",
        condition="Retries are suppressed, because the retry budget is used up.",
        expression="sum by (namespace, job, modality)"
        ' (rate(embedwire_retries_suppressed_total{cause="budget"}[5m])) > 0',
        for_="10m",
        summary="Embedwire {{ $labels.job }} has no retries left for {{ $labels.modality }}",
        description="So many attempts fail that retries are suppressed; inputs fail at their first failed attempt.",
        meaning="""
            The retry budget of the process is used up. It fills while most attempts succeed, so the upstream
            fails more often than retries can hide. This protects the upstream, and is a sign of an outage of
            it.
        """,
        look="""
            What the upstream answers.

            ```promql
            sum by (namespace, job, modality, reason)
              (job_modality_reason:embedwire_upstream_requests:rate5m{reason!~"OK|CANCELLED"}) > 0
            ```

            Retries that are left in each process.

            ```promql
            embedwire_retry_budget_tokens
            ```
        """,
        actions="""
            - Treat the cause: see [EmbedwireUpstreamFailing](#embedwireupstreamfailing) and
              [EmbedwireUpstreamUnreachable](#embedwireupstreamunreachable).
            - Do not raise `retry.budget_ratio` during an outage: more requests prolong it.
        """,
    ),
    Alert(
        name="EmbedwireAssetDeletionsFailed",
        party="upstream",
        severity="warning",
        condition="Assets could not be deleted at the upstream, again and again.",
        expression="sum by (namespace, job) (increase(embedwire_asset_deletions_failed_total[3h])) > 0",
        for_="1d",
        summary="Embedwire {{ $labels.job }} cannot delete files at the upstream",
        description="Deletions of assets have failed for a day. The upstream keeps the files, and may charge for them.",
        meaning="""
            Large files are uploaded as assets and deleted after their input. A cleanup job repeats failed
            deletions after `assets.max_age` (24 h). For a day, deletions have failed again and again.
        """,
        look="""
            Deletions that succeed.

            ```promql
            sum by (namespace, job) (increase(embedwire_assets_deleted_total[3h]))
            ```

            - The log line `an asset cannot be deleted`: the identifier of the asset, and the reason.
        """,
        actions="""
            - Check that the key may delete assets, and the upstream's own status.
            - Delete the files named `embedwire-...` at the upstream by hand, see
              [assets](operations.md#assets-of-the-upstream).
        """,
    ),
)
