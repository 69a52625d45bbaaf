"""Alerts for load: concurrency, queues, CPU and file descriptors."""

from deploy.monitoring.alert import Alert

_INPUTS = "sum by (namespace, job, modality) (job_modality_reason:embedwire_inputs:rate5m)"

ALERTS = (
    Alert(
        name="EmbedwireOverloaded",
        party="policy",
        severity="warning",
        condition="More than 5 % of the calls are rejected with `OVERLOADED`, by resource.",
        expression="sum by (namespace, job, resource)"
        ' (rate(embedwire_requests_shed_total{resource!="caller"}[5m]))\n'
        "  / on (namespace, job) group_left ()\n"
        "sum by (namespace, job) (job_reason:embedwire_requests:rate5m)\n"
        "  > 0.05",
        for_="10m",
        summary="Embedwire {{ $labels.job }} rejects calls: no capacity for {{ $labels.resource }}",
        description="{{ $value | humanizePercentage }} of all calls are rejected with OVERLOADED, because the capacity "
        "for {{ $labels.resource }} is used up.",
        meaning="""
            The concurrency limit and the queue of a modality are full, or the content of running calls fills
            the memory for it (`content_bytes`). Calls are rejected immediately, as a whole, with a retry delay;
            nothing is sent to the upstream. Calls above the limit of their token do not count here.
        """,
        look="""
            Inputs in flight and in the queue, by replica. If only some are full, connections are unevenly
            spread.

            ```promql
            sum by (namespace, job, instance, modality) (embedwire_inputs_in_flight)
            ```

            Whether the upstream has become slow: the same number of calls then needs more slots.

            ```promql
            job_modality:embedwire_upstream_request_duration_seconds:p99_rate5m
            ```

            Content in memory; the limit is `concurrency.max_buffered_bytes`.

            ```promql
            sum by (namespace, job, instance) (embedwire_buffered_bytes)
            ```

            Which caller sends the calls, if the server has tokens.

            ```promql
            topk(5, sum by (namespace, job, client) (rate(embedwire_client_requests_total[5m])))
            ```
        """,
        actions="""
            - Add replicas, if the quota of the upstream allows more. Divide `rate_limits` again,
              unless the replicas share them (`quota.store`).
            - Raise `concurrency.inputs_per_modality` if the upstream can take more requests at a time, or
              `concurrency.max_buffered_bytes` if the process has the memory.
            - Limit a single caller: `inputs_in_flight` of its token. Ask it to keep fewer calls open.
        """,
    ),
    Alert(
        name="EmbedwireInputsExpired",
        party="policy",
        severity="warning",
        condition="More than 5 % of the inputs of a modality reach their deadline before their first upstream request.",
        expression="sum by (namespace, job, modality) (rate(embedwire_expired_inputs_total[5m]))\n"
        f"  / {_INPUTS}\n"
        "  > 0.05",
        for_="10m",
        summary="Inputs of Embedwire {{ $labels.job }} expire before they are sent: {{ $labels.modality }}",
        description="{{ $value | humanizePercentage }} of the inputs of {{ $labels.modality }} reach their deadline in "
        "this server, before the first upstream request.",
        meaning="""
            Inputs wait too long for a slot of the concurrency limit, or for their own upload. The upstream has
            nothing to do with it, unless it has become slow: an input holds its slot while it waits for the
            upstream, and also while it waits for a rate limit.
        """,
        look="""
            Inputs that wait for the concurrency limit.

            ```promql
            sum by (namespace, job, instance, modality) (embedwire_concurrency_queue_length)
            ```

            Whether slots are held for longer because the upstream has become slow.

            ```promql
            job_modality:embedwire_upstream_request_duration_seconds:p99_rate5m
            ```
        """,
        actions="""
            - Raise `concurrency.inputs_per_modality`, or add replicas.
            - Lower `concurrency.queue_per_modality`: calls are then rejected immediately instead of waiting in
              vain.
            - Ask callers for longer deadlines or fewer inputs in a call.
        """,
    ),
    Alert(
        name="EmbedwireOverheadHigh",
        party="server",
        severity="warning",
        condition="The 99th percentile of the time in the server, without waits, is above 250 ms.",
        expression="job_modality:embedwire_gateway_overhead_seconds:p99_rate5m > 0.25",
        for_="10m",
        summary="Embedwire {{ $labels.job }} itself delays {{ $labels.modality }}",
        description="1 % of the inputs of {{ $labels.modality }} spend more than {{ $value | humanizeDuration }} in "
        "the server, without waits for the upstream, uploads or callers.",
        meaning="""
            The event loop is blocked, or the process needs more CPU than it gets. Normal values are
            milliseconds.
        """,
        look="""
            CPU of each process: near 1, it uses its core. Much lower with a high overhead points to
            throttling by a CPU limit.

            ```promql
            rate(process_cpu_seconds_total[5m]) and on (namespace, job, instance) embedwire_build_info
            ```

            Load by replica: gRPC connections may be unevenly spread.

            ```promql
            sum by (namespace, job, instance) (rate(embedwire_inputs_total[5m]))
            ```

            Whether the slower public API of grpcio is in use.

            ```promql
            min by (namespace, job, instance) (embedwire_grpc_private_api)
            ```
        """,
        actions="""
            - Add replicas or workers, or raise the CPU limit; see [sizing](operations.md#sizing).
            - If one replica has all the load, use clients with `round_robin` or a proxy, see [several
              replicas](operations.md#several-replicas).
        """,
    ),
    Alert(
        name="EmbedwireFileDescriptorsNearLimit",
        party="server",
        severity="warning",
        condition="More than 80 % of the file descriptors of a process are in use.",
        expression="process_open_fds / process_max_fds > 0.8\nand on (namespace, job, instance) embedwire_build_info",
        for_="5m",
        summary="{{ $labels.instance }} of Embedwire {{ $labels.job }} has few file descriptors left",
        description="{{ $value | humanizePercentage }} of the file descriptors are in use. Without any, the server is "
        "not ready.",
        meaning="""
            Connections of callers, connections to the upstream and spooled uploads use the descriptors. Half of
            them are for callers; further connections are closed immediately.
        """,
        look="""
            Inputs in flight.

            ```promql
            sum by (namespace, job, instance, modality) (embedwire_inputs_in_flight)
            ```

            - The log line `too few file descriptors for this configuration` of the start, with the needed
              number.
        """,
        actions="""
            - Raise `ulimit -n` (`LimitNOFILE`) to the number that the log line names, and restart.
            - Or lower `concurrency.inputs_per_modality`.
        """,
    ),
)
