"""Panels of the server: queues and load shedding, process."""

from deploy.monitoring.panel import Panel, Query, Row, each, gauge, rate, total

QUEUES = Row(
    "Queues and load shedding",
    (
        Panel(
            "Inputs in progress and in the queue",
            "Inputs that the server has accepted, and those of them that wait for the concurrency limit "
            "(concurrency.inputs_per_modality).",
            "short",
            (
                gauge("embedwire_inputs_in_flight", "modality", "in progress {{modality}}"),
                gauge("embedwire_concurrency_queue_length", "modality", "in the queue {{modality}}"),
            ),
            ("EmbedwireOverloaded",),
        ),
        Panel(
            "Calls rejected by load shedding",
            "By the exhausted resource: the concurrency limit of a modality, memory for content, or the quota of a "
            "token.",
            "reqps",
            (rate("embedwire_requests_shed_total", "resource"),),
            ("EmbedwireOverloaded",),
            is_stacked=True,
        ),
        Panel(
            "Expired inputs",
            "Inputs whose deadline passed before the first upstream request: the queue is too long for the deadlines "
            "of the callers.",
            "ops",
            (rate("embedwire_expired_inputs_total", "modality"),),
            ("EmbedwireInputsExpired",),
            is_stacked=True,
        ),
        Panel(
            "Content in memory",
            "Content of calls in progress, for each process; calls above concurrency.max_buffered_bytes are rejected.",
            "bytes",
            (each("embedwire_buffered_bytes"),),
            ("EmbedwireOverloaded",),
        ),
    ),
)

PROCESS = Row(
    "Process",
    (
        Panel(
            "CPU",
            "CPU seconds per second of each process; 1 is a whole core.",
            "short",
            (Query("rate(process_cpu_seconds_total{$server}[$window])", "{{instance}}"),),
            ("EmbedwireOverheadHigh",),
        ),
        Panel(
            "Memory",
            "Resident memory of each process.",
            "bytes",
            (each("process_resident_memory_bytes"),),
        ),
        Panel(
            "File descriptors",
            "Share of the limit that is in use, for each process.",
            "percentunit",
            (Query("process_open_fds{$server} / process_max_fds{$server}", "{{instance}}"),),
            ("EmbedwireFileDescriptorsNearLimit",),
        ),
        Panel(
            "Faults of the server",
            "Targets that are down, readiness that is off for lack of a resource, an event loop that has not run for "
            "10 s, failed reloads of the configuration, replaced workers and lost log lines. "
            "All of them are 0 in a healthy server.",
            "short",
            (
                Query("sum(1 - up{$server})", "target down"),
                Query("max by (cause) (embedwire_not_ready{$server})", "not ready: {{cause}}"),
                Query("max(embedwire_event_loop_silence_seconds{$server} > bool 10)", "event loop blocked"),
                Query("sum(1 - embedwire_config_last_reload_successful{$server})", "failed reload"),
                Query(
                    'sum by (reason) (increase(embedwire_worker_replacements_total{$server, reason=~"hung|ended"}'
                    "[$window]))",
                    "worker replaced: {{reason}}",
                ),
                total("embedwire_log_lines_dropped_total", "lost log lines", "increase"),
            ),
            (
                "EmbedwireNotReady",
                "EmbedwireEventLoopBlocked",
                "EmbedwireConfigReloadFailed",
                "EmbedwireWorkerReplaced",
                "EmbedwireLogLinesLost",
            ),
        ),
    ),
)
