"""Panels of calls: traffic and failures, latency, callers."""

from deploy.monitoring.panel import FAILED, Panel, Query, Row, quantiles, rate
from deploy.monitoring.recording_rules import PARTIES, reasons_of


def _failures_of(party: str) -> Query:
    selector = f'$server, reason=~"{reasons_of(party)}"'
    return Query(f"sum(rate(embedwire_requests_total{{{selector}}}[$window])) or vector(0)", party)


TRAFFIC = Row(
    "Traffic and failures",
    (
        Panel(
            "Inputs by modality",
            "Inputs that ended, with and without success. A call has one or more inputs.",
            "ops",
            (rate("embedwire_inputs_total", "modality"),),
            ("EmbedwireDown", "EmbedwireTargetDown"),
            is_stacked=True,
        ),
        Panel(
            "Failed calls by party",
            "Failed calls by the party that can correct the failure: the caller, a policy of the server (load "
            "shedding, rate limits, shutdown), the upstream, or the server itself.",
            "reqps",
            tuple(_failures_of(party) for party in PARTIES),
            ("EmbedwireServerFailing", "EmbedwireInternalErrors"),
        ),
        Panel(
            "Failed calls by reason",
            "Reasons of the contract. Calls that are rejected before they have an input are only here.",
            "reqps",
            (rate("embedwire_requests_total", "reason", selector=FAILED),),
            ("EmbedwireInvalidCalls", "EmbedwireCallersStalled", "EmbedwireDeadlinesExceeded"),
            is_stacked=True,
        ),
        Panel(
            "Failed inputs by reason",
            "A call with several inputs succeeds even if some of them fail, so this panel also shows failures that "
            "status codes do not.",
            "ops",
            (rate("embedwire_inputs_total", "reason", selector=FAILED),),
            ("EmbedwireUpstreamCredentialsRejected", "EmbedwireUpstreamQuotaExhausted"),
            is_stacked=True,
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            "Duration of calls",
            "From the start of a call to its last message, with the upload of a file and the wait for the upstream.",
            "s",
            quantiles("grpc_server_handling_seconds", "grpc_method"),
            ("EmbedwireDeadlinesExceeded",),
        ),
        Panel(
            "Gateway overhead",
            "Time of an input in this server, without the waits for the upstream, an upload or the client. If it "
            "rises, the server needs more CPU time.",
            "s",
            quantiles("embedwire_gateway_overhead_seconds", "modality"),
            ("EmbedwireOverheadHigh",),
        ),
    ),
)

CALLERS = Row(
    "Callers",
    (
        Panel(
            "Calls by token",
            "By the name of the client's token. Calls without a valid token have no name.",
            "reqps",
            (rate("embedwire_client_requests_total", "client"),),
            is_stacked=True,
        ),
        Panel(
            "Failed calls by token",
            "By the name of the client's token and the reason of failure.",
            "reqps",
            (rate("embedwire_client_requests_total", "client, reason", selector=FAILED),),
            ("EmbedwireInvalidCalls", "EmbedwireCallersStalled"),
            is_stacked=True,
        ),
    ),
)
