"""The check of expressions finds names that do not exist."""

import pytest

from deploy.monitoring.definitions import faults

RECORDS = {"job:inputs:rate5m": frozenset({"job", "reason"})}


@pytest.mark.parametrize(
    "expression",
    [
        "up == 0",
        'sum by (namespace, job, reason) (rate(embedwire_inputs_total{reason!="OK", instance="a"}[5m])) > 0.5',
        'job:inputs:rate5m{reason=~"OK|UPSTREAM_.+"} offset 10m',
        "histogram_quantile(0.99, sum by (le, modality) (rate(embedwire_gateway_overhead_seconds_bucket[5m])))",
        'embedwire_rate_limit_rejections_total{limit=~".+ per day"}',
        'embedwire_requests_total{model="anything"} and on (job) group_left (version) embedwire_build_info',
        "max_over_time(process_open_fds[1d:5m]) / process_max_fds",
    ],
)
def test_what_exists(expression: str) -> None:
    """Metrics, labels of targets, recording rules, patterns and open sets of values are accepted."""
    assert faults(expression, RECORDS) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(embedwire_input_total[5m])", "embedwire_input_total is no metric"),
        ("job:inputs:rate1h", "job:inputs:rate1h is no metric"),
        ('embedwire_inputs_total{client="a"}', "embedwire_inputs_total has no label client"),
        ("sum by (client) (embedwire_inputs_total)", "client is no label of embedwire_inputs_total"),
        ("up * on (job) group_left (client) embedwire_build_info", "client is no label of embedwire_build_info, up"),
        ('embedwire_inputs_total{reason="FAILED"}', "embedwire_inputs_total: reason is never FAILED"),
        ('embedwire_inputs_total{reason=~"OK|FAIL.*"}', "embedwire_inputs_total: reason is never FAIL.*"),
        ('embedwire_not_ready{cause="dns_failed"}', "embedwire_not_ready: cause is never dns_failed"),
        ('embedwire_requests_shed_total{resource="disk"}', "embedwire_requests_shed_total: resource is never disk"),
        ("vector(1)", "the expression uses no metric"),
    ],
)
def test_what_does_not_exist(expression: str, fault: str) -> None:
    """An unknown metric, label or value is reported."""
    assert faults(expression, RECORDS) == [fault]
