"""Recording rules: rates and ratios that several alerts, panels and queries use.

Names are `level:metric:operations`, as Prometheus recommends. The level lists the labels; `job` stands for namespace
and job. All replicas and workers of a job are summed.
"""

import dataclasses
from collections.abc import Mapping

from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import Reason
from embedwire_server.core.failure_causes import OWN

PARTIES = ("caller", "policy", "upstream", "server")
_OWN = "|".join(sorted(OWN))


@dataclasses.dataclass(frozen=True, slots=True)
class RecordingRule:
    """A recording rule.

    Attributes:
        record: name of the series.
        expression: its value in PromQL.
        meaning: what it is, for the documentation.
        labels: labels that the expression leaves.
        added: labels that the rule adds, with their values.
    """

    record: str
    expression: str
    meaning: str
    labels: frozenset[str]
    added: Mapping[str, str] = dataclasses.field(default_factory=dict)


def reasons_of(party: str) -> str:
    """Return the reasons of a party as a pattern, by the groups of the contract's enum: a hundred numbers each."""
    first = 100 * PARTIES.index(party)
    numbers = {reason: error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}") for reason in Reason}
    return "|".join(reason for reason, number in numbers.items() if first <= number < first + 100)


def _rule(record: str, labels: str, meaning: str, expression: str, **added: str) -> RecordingRule:
    return RecordingRule(record, expression, meaning, frozenset({"namespace", "job", *labels.split()}), added)


def _failed(metric: str, source: str) -> list[RecordingRule]:
    """Return the rules for the share of failures by party."""
    return [
        _rule(
            f"job_party:embedwire_{metric}_failed:ratio_rate5m",
            "",
            f"Share of {metric} that failed, by the party at fault: {', '.join(PARTIES)}.",
            f'(sum by (namespace, job) ({source}{{reason=~"{reasons_of(party)}"}})\n'
            f"  or 0 * sum by (namespace, job) ({source}))\n"
            f"  / sum by (namespace, job) ({source})",
            party=party,
        )
        for party in PARTIES
    ]


def _connections(window: str, meaning: str) -> RecordingRule:
    failures = f'embedwire_upstream_connection_failures_total{{cause!~"{_OWN}"}}'
    return _rule(
        f"job_cause:embedwire_upstream_connection_failures:per_input{window}",
        "cause",
        meaning,
        f"sum by (namespace, job, cause) (rate({failures}[{window}]))\n"
        "  / on (namespace, job) group_left ()\n"
        f"sum by (namespace, job) (job_modality_reason:embedwire_inputs:rate{window})",
    )


def _quantile(metric: str, label: str, meaning: str, quantile: str = "0.99") -> RecordingRule:
    return _rule(
        f"job_{label}:{metric}:p{quantile.removeprefix('0.')}_rate5m",
        label,
        meaning,
        f"histogram_quantile({quantile}, sum by (namespace, job, {label}, le) (rate({metric}_bucket[5m])))",
    )


def _rate(record: str, metric: str, labels: str, window: str, meaning: str) -> RecordingRule:
    by = ", ".join(["namespace", "job", *labels.split()])
    return _rule(record, labels, meaning, f"sum by ({by}) (rate({metric}[{window}]))")


RECORDING_RULES = (
    _rate(
        "job_modality_reason:embedwire_inputs:rate5m",
        "embedwire_inputs_total",
        "modality reason",
        "5m",
        "Inputs per second, by reason.",
    ),
    _rate(
        "job_modality_reason:embedwire_inputs:rate1h",
        "embedwire_inputs_total",
        "modality reason",
        "1h",
        "The same over an hour.",
    ),
    _rate(
        "job_reason:embedwire_requests:rate5m",
        "embedwire_requests_total",
        "reason",
        "5m",
        "Calls per second, by reason.",
    ),
    _rate(
        "job_modality_reason:embedwire_upstream_requests:rate5m",
        "embedwire_upstream_requests_total",
        "modality reason",
        "5m",
        "Upstream requests per second, by reason.",
    ),
    _rate(
        "job_modality_reason:embedwire_upstream_requests:rate1h",
        "embedwire_upstream_requests_total",
        "modality reason",
        "1h",
        "The same over an hour.",
    ),
    *_failed("inputs", "job_modality_reason:embedwire_inputs:rate5m"),
    *_failed("requests", "job_reason:embedwire_requests:rate5m"),
    _connections("5m", "Connections to the upstream that failed, for each input, by cause."),
    _connections("1h", "The same over an hour."),
    _quantile("grpc_server_handling_seconds", "grpc_method", "Duration of calls in seconds, 99th percentile."),
    _quantile(
        "embedwire_upstream_request_duration_seconds",
        "modality",
        "Duration of upstream requests in seconds, 99th percentile.",
    ),
    _quantile(
        "embedwire_rate_limit_wait_seconds",
        "modality",
        "Wait of an attempt for the upstream's rate limits in seconds, 99th percentile.",
    ),
    _quantile(
        "embedwire_gateway_overhead_seconds",
        "modality",
        "Time of an input in the server without waits, in seconds, 99th percentile.",
    ),
)
LABELS = {rule.record: rule.labels | rule.added.keys() for rule in RECORDING_RULES}
