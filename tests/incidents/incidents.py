"""The incidents: what goes wrong, and the alerts and panels that must show it."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from embedwire_sandbox import SandboxOptions
from tests.incidents import faults
from tests.incidents.scene import DEADLINE, PAUSE, Scene


@dataclasses.dataclass(frozen=True)
class Incident:
    """An incident.

    Attributes:
        name: also the job of its server in Prometheus.
        sentence: what happens.
        fault: what goes wrong.
        party: the party at fault, as in the label of alerts; empty if nothing goes wrong.
        alerts: alerts that must fire.
        panels: the panels that must show it: the names of their lines, by title.
        page: reason of failures that the status page must show; empty if it cannot show the fault.
        pause: seconds between two calls of each caller of the normal traffic.
        deadline: of the normal traffic, in seconds.
        settings: settings of the server.
        options: options of the upstream.
    """

    name: str
    sentence: str
    fault: Callable[[Scene], AbstractAsyncContextManager[None]]
    party: str = ""
    alerts: frozenset[str] = frozenset()
    panels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    page: str = ""
    pause: float = PAUSE
    deadline: float = DEADLINE
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: SandboxOptions = dataclasses.field(default_factory=SandboxOptions)


INCIDENTS = (
    Incident("control", "Normal traffic, without a fault.", faults.nothing),
    Incident(
        "rate-limit",
        "Callers send more than the plan of the upstream allows.",
        faults.too_many_for_the_plan,
        "upstream",
        frozenset({"EmbedwireUpstreamRateLimited", "EmbedwireRateLimitRejections"}),
        {
            "Back-offs and rejections by rate limits": "rejected text: upstream",
            "Wait for rate limits": "p99 text",
            "Inputs that wait for rate limits": "text",
            "Failed calls by reason": "RATE_LIMITED",
        },
        "RATE_LIMITED",
        pause=0.8,
        options=SandboxOptions(requests_per_minute={"text": 8}, quota_window_sec=2.0),
    ),
    Incident(
        "upstream-stopped",
        "The upstream refuses connections.",
        faults.upstream_stopped,
        "upstream",
        frozenset({"EmbedwireUpstreamUnreachable", "EmbedwireRetryBudgetExhausted"}),
        {
            "Connection failures by cause": "connection_refused",
            "Failed calls by party": "upstream",
            "Suppressed retries by cause": "budget",
        },
        "UPSTREAM_UNAVAILABLE",
    ),
    Incident(
        "upstream-errors",
        "The upstream answers every request with 503.",
        faults.upstream_errors,
        "upstream",
        frozenset({"EmbedwireUpstreamFailing", "EmbedwireRetryBudgetExhausted"}),
        {
            "Upstream requests by reason": "UPSTREAM_UNAVAILABLE",
            "Failed calls by party": "upstream",
            "Retries by reason": "UPSTREAM_UNAVAILABLE",
        },
        "UPSTREAM_UNAVAILABLE",
    ),
    Incident(
        "upstream-hanging",
        "The upstream accepts requests and does not answer.",
        faults.upstream_hangs,
        "upstream",
        frozenset({"EmbedwireUpstreamNotAnswering"}),
        {
            "Upstream requests by reason": "DEADLINE_EXCEEDED",
            "Duration of upstream requests": "p50 text",
            "Failed calls by reason": "DEADLINE_EXCEEDED",
        },
        "DEADLINE_EXCEEDED",
        pause=0.8,
        deadline=2.0,
    ),
    Incident(
        "key-revoked",
        "The upstream rejects the API key of the server.",
        faults.key_revoked,
        "upstream",
        frozenset({"EmbedwireUpstreamCredentialsRejected"}),
        {
            "Upstream requests by reason": "UPSTREAM_CREDENTIALS",
            "Failed inputs by reason": "UPSTREAM_CREDENTIALS",
            "Failed calls by party": "upstream",
        },
        "UPSTREAM_CREDENTIALS",
    ),
    Incident(
        "overload",
        "Three times as many calls at the same time as the server has capacity for.",
        faults.too_many_callers,
        "policy",
        frozenset({"EmbedwireOverloaded"}),
        {
            "Calls rejected by load shedding": "text",
            "Inputs in progress and in the queue": "in the queue text",
            "Failed calls by party": "policy",
        },
        "OVERLOADED",
        settings={"concurrency_inputs_per_modality": 2, "concurrency_queue_per_modality": 2},
        options=SandboxOptions(latency_sec=0.1),
    ),
    Incident(
        "slow-callers",
        "Callers begin uploads and send nothing more.",
        faults.stalled_uploads,
        "caller",
        frozenset({"EmbedwireCallersStalled"}),
        {
            "Failed calls by reason": "CALLER_STALLED",
            "Failed calls by party": "caller",
            "Failed calls by token": "search CALLER_STALLED",
        },
        "CALLER_STALLED",
        settings={"uploads_idle_timeout": "1s"},
    ),
    Incident(
        "hostile-requests",
        "Callers send broken messages, invalid requests and unknown tokens.",
        faults.hostile_requests,
        "caller",
        frozenset({"EmbedwireInvalidCalls"}),
        {
            "Failed calls by reason": "MALFORMED_MESSAGE",
            "Failed calls by party": "caller",
            "Failed calls by token": "search INVALID_REQUEST",
        },
        "MALFORMED_MESSAGE",
    ),
    Incident(
        "broken-configuration",
        "The configuration file gets an invalid value.",
        faults.broken_configuration,
        "server",
        frozenset({"EmbedwireConfigReloadFailed"}),
        {"Faults of the server": "failed reload"},
    ),
    Incident(
        "server-hung",
        "The only process of the server stops.",
        faults.server_stopped,
        "server",
        frozenset({"EmbedwireDown"}),
        {"Faults of the server": "target down"},
    ),
)
