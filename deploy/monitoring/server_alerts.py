"""Alerts for faults of the server itself, and of its configuration and environment."""

from deploy.monitoring.alert import Alert

_INTERNAL = '{reason="INTERNAL"}'


def _events(series: str, labels: str, window: str = "15m") -> str:
    """Return the condition that a counter has increased, also if its series appeared with the first event."""
    return (
        f"sum by ({labels}) (increase({series}[{window}])) > 0\n"
        f"or sum by ({labels}) ({series} unless {series} offset {window}) > 0"
    )


ALERTS = (
    Alert(
        name="EmbedwireServerFailing",
        party="server",
        severity="critical",
        condition="More than 5 % of the calls or of the inputs fail with `INTERNAL`.",
        expression='job_party:embedwire_requests_failed:ratio_rate5m{party="server"} > 0.05\n'
        'or job_party:embedwire_inputs_failed:ratio_rate5m{party="server"} > 0.05',
        for_="5m",
        summary="{{ $value | humanizePercentage }} of the calls of Embedwire {{ $labels.job }} fail by its own fault",
        description="Calls or inputs fail with INTERNAL: a resource is missing, or the server has a bug.",
        meaning="""
            More than 5 % of the calls or inputs fail with `INTERNAL`. Callers cannot correct this.
        """,
        look="""
            Which replicas are affected? One alone points to its node.

            ```promql
            sum by (namespace, job, instance, grpc_method, model)
              (rate(embedwire_requests_total{reason="INTERNAL"}[5m])) > 0
            ```

            - Log lines of calls with `embedwire.reason` `INTERNAL`: `embedwire.cause` names a missing resource.
              Without a cause, a line with `exception.type` and `exception.stacktrace` has the same
              `embedwire.request_id`.
        """,
        actions="""
            - With a cause: see [the failures of the server](troubleshooting.md#the-server-failed).
            - Without: take one replica out of service and keep its log, then roll back to the previous version.
        """,
    ),
    Alert(
        name="EmbedwireInternalErrors",
        party="server",
        severity="warning",
        condition="A call or an input failed with `INTERNAL`.",
        expression=_events(f"embedwire_inputs_total{_INTERNAL}", "namespace, job")
        + "\nor "
        + _events(f"embedwire_requests_total{_INTERNAL}", "namespace, job"),
        for_="0m",
        summary="Embedwire {{ $labels.job }} had an internal error",
        description="{{ $value | humanize }} calls or inputs failed with INTERNAL in the last 15 minutes.",
        meaning="""
            A call met an unexpected exception or a missing resource. A single one is a bug worth a report.
        """,
        look="""
            The model and method.

            ```promql
            sum by (namespace, job, instance, grpc_method, model)
              (increase(embedwire_requests_total{reason="INTERNAL"}[1h])) > 0
            ```

            - The log: `embedwire.reason` `INTERNAL`, and the stack trace with the same `embedwire.request_id`.
        """,
        actions="""
            - With `embedwire.cause` in the log line: see [the failures of the
              server](troubleshooting.md#the-server-failed).
            - Without: report the stack trace, which contains no content of callers.
        """,
    ),
    Alert(
        name="EmbedwireWorkerReplaced",
        party="server",
        severity="warning",
        condition="A worker hung or ended within the last hour, and was replaced.",
        expression="sum by (namespace, job, instance, reason)"
        ' (increase(embedwire_worker_replacements_total{reason=~"hung|ended"}[1h])) > 0',
        for_="0m",
        summary="A worker of Embedwire {{ $labels.job }} was replaced: {{ $labels.reason }}",
        description="The supervisor replaced a worker that hung or ended. Its running calls have failed.",
        meaning="""
            `hung`: the event loop sent no heartbeat for `workers.timeout`, and the worker was killed. `ended`:
            it crashed, or something killed it, for instance the OOM killer.
        """,
        look="""
            Memory before that.

            ```promql
            max by (namespace, job, instance)
              (process_resident_memory_bytes and on (namespace, job, instance) embedwire_build_info)
            ```

            - The log: `a hung worker is killed` with the reason, or the exit code in `process.exit.code`.
        """,
        actions="""
            - `ended` by the OOM killer: raise the memory limit, or set `workers.max_memory` below it.
            - `hung`: raise `workers.timeout` if the machine was paused. Otherwise take a stack trace of the next
              worker that blocks, with `py-spy dump`, and report it; the log has only the reason.
        """,
    ),
    Alert(
        name="EmbedwireEventLoopBlocked",
        party="server",
        severity="warning",
        condition="The event loop was blocked for more than 10 s.",
        expression="max by (namespace, job, instance) (max_over_time(embedwire_event_loop_silence_seconds[15m])) > 10",
        for_="0m",
        summary="The event loop of {{ $labels.instance }} of Embedwire {{ $labels.job }} was blocked",
        description="The event loop did not run for {{ $value | humanizeDuration }}. No call made progress.",
        meaning="""
            One thread handles all calls. It was blocked by code that does not yield, or the process was stopped or
            got no CPU. Metrics and probes are answered by another thread. `/livez` fails after `workers.timeout`.
        """,
        look="""
            Whether the process used a whole core meanwhile, or none.

            ```promql
            rate(process_cpu_seconds_total[5m]) and on (namespace, job, instance) embedwire_build_info
            ```

            - Throttling of the container, and memory pressure of the node.
        """,
        actions="""
            - Without CPU: raise the CPU request or limit of the container, or move it to another node.
            - With a whole core: report it, with the output of `py-spy dump` during a block.
            - With `workers.count` above 1, the supervisor replaces a process that is blocked for `workers.timeout`.
        """,
    ),
    Alert(
        name="EmbedwireConfigReloadFailed",
        party="server",
        severity="warning",
        condition="The last reload of the configuration failed.",
        expression="min by (namespace, job, instance) (embedwire_config_last_reload_successful) == 0",
        for_="5m",
        summary="{{ $labels.instance }} of Embedwire {{ $labels.job }} rejects its configuration",
        description="The last reload failed. The old configuration stays in force; a restart would fail.",
        meaning="""
            The configuration file is invalid, or all tokens were removed, which needs a restart. New tokens and
            limits are not in force.
        """,
        look="""
            - The log of the reload: it lists all faults, each with its place in the file.
        """,
        actions="""
            - Check the file with `embedwire-server config check`, and correct it. It is reloaded after the
              change.
        """,
    ),
    Alert(
        name="EmbedwireLogLinesLost",
        party="server",
        severity="warning",
        condition="Log lines were lost.",
        expression="sum by (namespace, job, instance) (increase(embedwire_log_lines_dropped_total[15m])) > 0",
        for_="0m",
        summary="{{ $labels.instance }} of Embedwire {{ $labels.job }} loses log lines",
        description="{{ $value | humanize }} log lines were lost in the last 15 minutes. Calls are not affected.",
        meaning="""
            The reader of standard error is too slow, has ended, or its disk is full. The server drops lines
            rather than block calls.
        """,
        look="""
            - The log collector of the node, and its disk. One line of the server reports how many were lost.
        """,
        actions="""
            - Restore the log collector.
            - If the level is `debug`, set `log.level` to `info`.
        """,
    ),
)
