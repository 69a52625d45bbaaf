"""Alerts for faults of callers, and for attacks."""

from deploy.monitoring.alert import Alert

_CALLS = "sum by (namespace, job) (job_reason:embedwire_requests:rate5m)"
_INVALID = "INVALID_REQUEST|MALFORMED_MESSAGE|INVALID_UPLOAD_FRAMING|UPLOAD_MISMATCH|UNAUTHENTICATED|PERMISSION_DENIED"


def _share(reasons: str) -> str:
    return (
        f'sum by (namespace, job, reason) (job_reason:embedwire_requests:rate5m{{reason=~"{reasons}"}})\n'
        f"  / on (namespace, job) group_left ()\n{_CALLS}\n"
    )


ALERTS = (
    Alert(
        name="EmbedwireCallersStalled",
        party="caller",
        severity="warning",
        condition="More than 5 % of the calls end with `CALLER_STALLED`.",
        expression=f"{_share('CALLER_STALLED')}  > 0.05",
        for_="10m",
        summary="Callers of Embedwire {{ $labels.job }} are too slow",
        description="{{ $value | humanizePercentage }} of all calls are aborted, because the caller does not read its "
        "results or does not send its upload.",
        meaning="""
            A caller did not take a message for `server.write_stall_timeout`, sent less than the minimum of an
            upload in `uploads.idle_timeout`, or began a call without a message. The server aborts such calls,
            so that they hold no memory and no slot.
        """,
        look="""
            Which caller, if the server has tokens.

            ```promql
            topk(5, sum by (namespace, job, client, reason) (rate(embedwire_client_requests_total{reason!="OK"}[5m])))
            ```

            - Log lines of calls with `embedwire.reason` `CALLER_STALLED`: `embedwire.client` and `rpc.method`.
            - Whether a proxy between caller and server buffers or drops: then all callers behind it are
              affected.
        """,
        actions="""
            - Ask the owner of the caller to read the stream continuously, and to process results elsewhere.
            - If uploads stall on slow links, raise `uploads.idle_timeout`.
            - If no caller is known, suspect an attack that holds calls open; limit connections in front of the
              server.
        """,
    ),
    Alert(
        name="EmbedwireInvalidCalls",
        party="caller",
        severity="warning",
        condition="More than 20 % of the calls are invalid or have no valid token, by reason.",
        expression=f"{_share(_INVALID)}  > 0.2",
        for_="10m",
        summary="{{ $value | humanizePercentage }} of the calls of Embedwire {{ $labels.job }} fail with "
        "{{ $labels.reason }}",
        description="A client is broken, uses another version of the contract, has a wrong token, or is hostile.",
        meaning="""
            Calls are rejected before anything is sent to the upstream. `UNAUTHENTICATED`: no token, or an
            unknown one. `PERMISSION_DENIED`: the token does not permit the model or modality.
            `MALFORMED_MESSAGE`: bytes that are not protobuf. `INVALID_REQUEST` and the others: a client does
            not follow the contract.
        """,
        look="""
            Which caller, if the server has tokens.

            ```promql
            topk(5, sum by (namespace, job, client, reason) (rate(embedwire_client_requests_total{reason!="OK"}[5m])))
            ```

            The method, and whether the requested model is known.

            ```promql
            sum by (namespace, job, grpc_method, model, reason)
              (rate(embedwire_requests_total{reason=~"INVALID_REQUEST|MALFORMED_MESSAGE|UNAUTHENTICATED"}[5m])) > 0
            ```

            Whether it began with a change of the configuration: a failed reload keeps the old tokens.

            ```promql
            min by (namespace, job, instance) (embedwire_config_last_reload_successful)
            ```

            - The status page: recent failures with their request ids. The logs of the load balancer: addresses.
        """,
        actions="""
            - After a release of a client: roll it back, or correct what `field_violations` of its errors lists.
            - After a rotation of tokens: check that the hash of the new token is in the file of every replica.
            - If no caller is known: block the addresses in front of the server. Rejected calls cost no quota.
        """,
    ),
    Alert(
        name="EmbedwireDeadlinesExceeded",
        party="caller",
        severity="warning",
        condition="More than 5 % of the calls end with `DEADLINE_EXCEEDED`.",
        expression=f"{_share('DEADLINE_EXCEEDED')}  > 0.05",
        for_="10m",
        summary="{{ $value | humanizePercentage }} of the calls of Embedwire {{ $labels.job }} exceed their deadline",
        description="Calls end with DEADLINE_EXCEEDED: their deadlines are too short, or something is too slow.",
        meaning="""
            The deadline is the caller's, so the party is `caller`. If deadlines have not changed, compare where
            the time goes: in the upstream, in the queue for the rate limits, in the queue for the concurrency
            limit, or in the server. If most requests are at the upstream when the deadline passes,
            [EmbedwireUpstreamNotAnswering](#embedwireupstreamnotanswering) fires as well.
        """,
        look="""
            The upstream.

            ```promql
            job_modality:embedwire_upstream_request_duration_seconds:p99_rate5m
            ```

            The rate limits.

            ```promql
            job_modality:embedwire_rate_limit_wait_seconds:p99_rate5m
            ```

            The concurrency limit.

            ```promql
            sum by (namespace, job, modality) (embedwire_concurrency_queue_length)
            ```

            The server itself.

            ```promql
            job_modality:embedwire_gateway_overhead_seconds:p99_rate5m
            ```

            Which caller, if the server has tokens.

            ```promql
            topk(5, sum by (namespace, job, client, reason) (rate(embedwire_client_requests_total{reason!="OK"}[5m])))
            ```
        """,
        actions="""
            - If one of them has risen, treat that: see the alerts of the upstream, the policies and the server.
            - If none has risen, a caller has shortened its deadline or sends larger inputs. Tasks for long
              audio need more than the synchronous mode, see [tasks](concepts.md#tasks-and-progress).
        """,
    ),
)
