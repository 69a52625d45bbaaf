"""Series of one server: normal traffic, and a fault for each alert."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from embedwire_server.observability.resource_monitor import CHECKED
from embedwire_server.observability.store_metrics import REDIS_USES
from tests.prometheus.promtool import MISSING

BEGIN = 130  # minute in which a fault begins; more than two hours, so that every window has a history

_TARGET = 'namespace="search", job="embedwire", instance="10.0.0.1:9464"'


def named(name: str, **labels: str) -> str:
    """Return a series of the server."""
    pairs = ", ".join([_TARGET, *(f'{label}="{value}"' for label, value in labels.items())])
    return f"{name}{{{pairs}}}"


def inputs(reason: str, modality: str = "text") -> str:
    return named("embedwire_inputs_total", modality=modality, model="marengo3.0", reason=reason)


def requests(reason: str) -> str:
    return named("embedwire_requests_total", grpc_method="CreateEmbedding", model="marengo3.0", reason=reason)


def upstream_requests(reason: str) -> str:
    return named(
        "embedwire_upstream_requests_total", upstream="twelvelabs", endpoint="v1", modality="text", reason=reason
    )


def connections(cause: str) -> str:
    return named("embedwire_upstream_connection_failures_total", cause=cause)


def rejections(limit: str) -> str:
    return named("embedwire_rate_limit_rejections_total", modality="text", limit=limit)


def shed(resource: str) -> str:
    return named("embedwire_requests_shed_total", resource=resource)


def suppressed(cause: str) -> str:
    return named("embedwire_retries_suppressed_total", modality="text", cause=cause)


def overhead(bound: str) -> str:
    return named("embedwire_gateway_overhead_seconds_bucket", modality="text", le=bound)


EXPIRED = named("embedwire_expired_inputs_total", modality="text")
DROPPED = named("embedwire_log_lines_dropped_total")
UNDELETED = named("embedwire_asset_deletions_failed_total")
HUNG = named("embedwire_worker_replacements_total", reason="hung")
AGED = named("embedwire_worker_replacements_total", reason="age")
SILENCE = named("embedwire_event_loop_silence_seconds")
QUEUE = named("embedwire_rate_limit_queue_length", modality="text")
RELOADED = named("embedwire_config_last_reload_successful")
NOT_READY = {str(cause): named("embedwire_not_ready", cause=cause) for cause in CHECKED}
OPEN = named("process_open_fds")
MOST = named("process_max_fds")
SHARED = named("embedwire_quota_shared")
REDIS_UP = {use: named("embedwire_redis_up", use=use) for use in REDIS_USES}
UP = named("up")
BUILD = named("embedwire_build_info", version="0.1.0", python="3.11.2", grpcio="1.85.1")

# Increase of each counter in a minute of normal traffic: some callers make mistakes, some attempts are retried.
NORMAL: Mapping[str, float] = {
    inputs("OK"): 1000,
    inputs("CANCELLED"): 5,
    inputs("INPUT_REJECTED"): 20,
    inputs("UPSTREAM_UNAVAILABLE"): 2,
    requests("OK"): 500,
    requests("INVALID_REQUEST"): 10,
    requests("CALLER_STALLED"): 1,
    requests("DEADLINE_EXCEEDED"): 2,
    requests("UNAUTHENTICATED"): 3,
    upstream_requests("OK"): 1000,
    upstream_requests("UPSTREAM_UNAVAILABLE"): 10,
    upstream_requests("DEADLINE_EXCEEDED"): 4,
    upstream_requests("UPSTREAM_RATE_LIMITED"): 5,
    connections("connection_reset"): 5,
    rejections("text requests per minute"): 2,
    shed("text"): 1,
    shed("caller"): 100,
    suppressed("attempts"): 2,
    suppressed("budget"): 0,
    overhead("0.005"): 995,
    overhead("0.25"): 1000,
    overhead("1.0"): 1000,
    overhead("+Inf"): 1000,
    EXPIRED: 3,
    DROPPED: 0,
    UNDELETED: 0,
    HUNG: 0,
    AGED: 1,
}
GAUGES: Mapping[str, float] = {
    QUEUE: 40,
    RELOADED: 1,
    SILENCE: 0.5,
    OPEN: 200,
    MOST: 1024,
    UP: 1,
    BUILD: 1,
    SHARED: 1,
    **dict.fromkeys(REDIS_UP.values(), 1),
    **dict.fromkeys(NOT_READY.values(), 0),
}
ZERO_TRAFFIC = dict.fromkeys(NORMAL, 0.0)
# One input in six minutes.
QUIET: Mapping[str, float] = ZERO_TRAFFIC | dict.fromkeys(
    [inputs("OK"), requests("OK"), upstream_requests("OK")], 1 / 6
)
# What a single failed input may count, with three attempts.
SINGLE_FAILURES: Mapping[str, Mapping[str, float]] = {
    "connection": {connections("connection_reset"): 3, inputs("UPSTREAM_UNAVAILABLE"): 1},
    "upstream": {inputs("UPSTREAM_TIMEOUT"): 1, upstream_requests("UPSTREAM_TIMEOUT"): 3},
    "deadline": {inputs("DEADLINE_EXCEEDED"): 1, upstream_requests("DEADLINE_EXCEEDED"): 1},
    "caller": {requests("CALLER_STALLED"): 1},
    "credentials": {inputs("UPSTREAM_CREDENTIALS"): 1},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What changes at minute `BEGIN`.

    Attributes:
        alert: the alert that it must fire.
        counters: increase of each counter in a minute. A counter without normal traffic appears with its first event.
        gauges: value of each gauge; a sequence has one for each minute, and its last one stays.
        lasts: how many minutes the counters increase so, before they are normal again.
        gone: whether the target exports nothing any more, so that only `up` is left, as 0.
        also: other alerts that it fires rightly.
        minutes: after how many minutes it must have fired, if not after those that the alert waits and 5 more.
    """

    alert: str
    counters: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gauges: Mapping[str, float | Sequence[float]] = dataclasses.field(default_factory=dict)
    lasts: int = 10**6
    gone: bool = False
    also: frozenset[str] = frozenset()
    minutes: int = 0


FAULTS = (
    Fault(alert="EmbedwireDown", gone=True, also=frozenset({"EmbedwireTargetDown"}), minutes=15),
    Fault(alert="EmbedwireEventLoopBlocked", gauges={SILENCE: (12, 0.5)}),
    Fault(alert="EmbedwireNotReady", gauges={NOT_READY["disk_full"]: 1}),
    Fault(
        alert="EmbedwireUpstreamUnreachable",
        counters={
            inputs("UPSTREAM_UNAVAILABLE"): 1000,
            inputs("OK"): 0,
            upstream_requests("OK"): 0,
            connections("connection_refused"): 1000,
        },
    ),
    Fault(
        alert="EmbedwireUpstreamFailing",
        counters={inputs("UPSTREAM_TIMEOUT"): 200, upstream_requests("UPSTREAM_TIMEOUT"): 600},
        minutes=25,
    ),
    Fault(
        alert="EmbedwireUpstreamNotAnswering",
        counters={
            upstream_requests("DEADLINE_EXCEEDED"): 1000,
            upstream_requests("OK"): 0,
            inputs("DEADLINE_EXCEEDED"): 1000,
            inputs("OK"): 0,
            requests("DEADLINE_EXCEEDED"): 500,
            requests("OK"): 0,
        },
        also=frozenset({"EmbedwireDeadlinesExceeded"}),
        minutes=20,
    ),
    Fault(
        alert="EmbedwireUpstreamCredentialsRejected",
        counters={inputs("UPSTREAM_CREDENTIALS"): 1000, inputs("OK"): 0, upstream_requests("UPSTREAM_CREDENTIALS"): 1},
    ),
    Fault(alert="EmbedwireUpstreamQuotaExhausted", counters={inputs("UPSTREAM_QUOTA_EXHAUSTED"): 200}),
    Fault(
        alert="EmbedwireUpstreamQuotaExhausted",
        counters={inputs("RATE_LIMITED"): 200, rejections("text requests per day"): 200},
    ),
    Fault(alert="EmbedwireUpstreamRateLimited", counters={upstream_requests("UPSTREAM_RATE_LIMITED"): 200}),
    Fault(
        alert="EmbedwireRateLimitRejections",
        counters={inputs("RATE_LIMITED"): 400, rejections("text requests per minute"): 400},
    ),
    Fault(alert="EmbedwireRateLimitQueueGrowing", gauges={QUEUE: range(40, 400, 10)}, minutes=25),
    Fault(alert="EmbedwireRetryBudgetExhausted", counters={suppressed("budget"): 5}),
    Fault(alert="EmbedwireAssetDeletionsFailed", counters={UNDELETED: 0.1}, minutes=26 * 60),
    Fault(alert="EmbedwireOverloaded", counters={shed("text"): 200, requests("OVERLOADED"): 200}),
    Fault(alert="EmbedwireInputsExpired", counters={EXPIRED: 200, inputs("DEADLINE_EXCEEDED"): 200}),
    Fault(alert="EmbedwireOverheadHigh", counters={overhead("0.005"): 500, overhead("0.25"): 800}),
    Fault(alert="EmbedwireFileDescriptorsNearLimit", gauges={OPEN: 900}),
    Fault(alert="EmbedwireCallersStalled", counters={requests("CALLER_STALLED"): 100}),
    Fault(alert="EmbedwireInvalidCalls", counters={requests("UNAUTHENTICATED"): 1000}),
    Fault(alert="EmbedwireInvalidCalls", counters={requests("MALFORMED_MESSAGE"): 1000}),
    Fault(alert="EmbedwireDeadlinesExceeded", counters={requests("DEADLINE_EXCEEDED"): 100}),
    Fault(
        alert="EmbedwireServerFailing",
        counters={requests("INTERNAL"): 100, inputs("INTERNAL"): 100},
        also=frozenset({"EmbedwireInternalErrors"}),
    ),
    Fault(alert="EmbedwireInternalErrors", counters={inputs("INTERNAL"): 1}, lasts=1),
    Fault(alert="EmbedwireInternalErrors", counters={requests("INTERNAL"): 1}, lasts=1),
    Fault(alert="EmbedwireWorkerReplaced", counters={HUNG: 1}, lasts=1),
    Fault(alert="EmbedwireConfigReloadFailed", gauges={RELOADED: 0}),
    Fault(alert="EmbedwireQuotaNotShared", gauges={SHARED: 0, REDIS_UP["quota"]: 0}),
    Fault(alert="EmbedwireCacheUnavailable", gauges={REDIS_UP["cache"]: 0}),
    Fault(alert="EmbedwireLogLinesLost", counters={DROPPED: 100}, lasts=1),
)


def series(
    fault: Fault | None, minutes: int, normal: Mapping[str, float] = NORMAL, *, begin: int = BEGIN
) -> dict[str, list[str]]:
    """Return the samples of all series, with a fault from minute `begin` on."""
    fault = fault or Fault(alert="")
    found = {}
    for name in {**normal, **fault.counters}:
        before = normal.get(name)
        during = fault.counters.get(name, before or 0.0)
        increases = [during if begin <= minute < begin + fault.lasts else before for minute in range(minutes)]
        found[name] = list(_counter(increases, appears=0 if before is not None else begin))
    for name, value in GAUGES.items():
        found[name] = [_gauge(fault.gauges.get(name, value), value, minute - begin) for minute in range(minutes)]
    if fault.gone:
        found = {name: [*values[:begin], *["stale"] * (minutes - begin)] for name, values in found.items()}
        found[UP] = ["1"] * begin + ["0"] * (minutes - begin)
    return found


def _counter(increases: Sequence[float | None], appears: int) -> Iterator[str]:
    for minute, value in enumerate(itertools.accumulate(increase or 0.0 for increase in increases)):
        yield f"{value:g}" if minute >= appears else MISSING


def _gauge(fault: float | Sequence[float], normal: float, minute: int) -> str:
    if minute < 0:
        return f"{normal:g}"
    return f"{fault:g}" if isinstance(fault, int | float) else f"{fault[min(minute, len(fault) - 1)]:g}"
