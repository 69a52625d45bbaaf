"""Alerts for servers that are down or not ready."""

from deploy.monitoring.alert import Alert

# Targets of any job that have exported metrics of Embedwire.
_KNOWN = "last_over_time(embedwire_build_info[1d])"

ALERTS = (
    Alert(
        name="EmbedwireDown",
        party="server",
        severity="critical",
        condition="No target of a job can be scraped, or there is none at all.",
        expression=f"max by (namespace, job) (up and on (namespace, job) {_KNOWN}) == 0\n"
        "or on ()\n"
        "absent(embedwire_build_info)",
        for_="5m",
        summary="No target of Embedwire {{ $labels.job }} can be scraped",
        description="Every replica is down, or Prometheus has no target. No other alert of Embedwire can fire.",
        meaning="""
            Prometheus cannot scrape any server of a job, or does not know any. It says nothing about gRPC: the
            metrics port has its own address. Without metrics, no other alert works.
        """,
        look="""
            The targets. An empty result means that Prometheus has none.

            ```promql
            up and on (namespace, job) last_over_time(embedwire_build_info[1d])
            ```

            - Whether the server answers: `embedwire-server health --listen HOST:PORT`, or `/readyz` of the metrics
              port.
            - The state and the last log lines of the process or the pods.
        """,
        actions="""
            - If the server answers, correct the scrape configuration: `metrics.listen` must be reachable, and
              each worker has its own port.
            - If it does not start, run `embedwire-server config check`; exit code 2 is an invalid
              configuration.
            - If Embedwire is not installed any more, remove these rules.
        """,
    ),
    Alert(
        name="EmbedwireTargetDown",
        party="server",
        severity="warning",
        condition="One target cannot be scraped.",
        expression=f"up == 0 and on (namespace, job, instance) {_KNOWN}",
        for_="10m",
        summary="{{ $labels.instance }} of Embedwire {{ $labels.job }} cannot be scraped",
        description="One replica or worker is down, is stopped as a whole, or cannot be reached by Prometheus.",
        meaning="""
            A target that exported metrics within the last day does not answer any more. The others serve its
            calls.
        """,
        look="""
            Whether others of the job are up.

            ```promql
            up and on (namespace, job) last_over_time(embedwire_build_info[1d])
            ```

            - Its last log lines: `draining` for a stop, a stack trace for a crash, none for the OOM killer.
        """,
        actions="""
            - A process that was killed for its memory: raise the limit, or lower
              `concurrency.max_buffered_bytes`.
            - A worker that does not answer is replaced by the supervisor after `workers.timeout`.
            - A single process that hangs must be restarted; a probe on `/livez` does that. If only its event loop is
              blocked, it still answers scrapes, and `EmbedwireEventLoopBlocked` fires.
        """,
    ),
    Alert(
        name="EmbedwireNotReady",
        party="server",
        severity="critical",
        condition="A server lacks a resource and reports NOT_SERVING, by cause.",
        expression="max by (namespace, job, instance, cause) (embedwire_not_ready) == 1",
        for_="2m",
        summary="{{ $labels.instance }} of Embedwire {{ $labels.job }} is not ready: {{ $labels.cause }}",
        description="The server lacks a resource ({{ $labels.cause }}) and reports NOT_SERVING, so that load balancers "
        "send calls elsewhere.",
        meaning="""
            The server checks its resources once a second. One is lacking: file descriptors, memory, disk space,
            or the directory for uploads. Readiness returns after three good checks in a row.
        """,
        look="""
            Descriptors in use.

            ```promql
            process_open_fds / process_max_fds and on (namespace, job, instance) embedwire_build_info
            ```

            - The log line `not ready`: its message says what is lacking.
        """,
        actions="""
            - Follow [Readiness is off](troubleshooting.md#readiness-is-off) for the cause.
        """,
    ),
)
