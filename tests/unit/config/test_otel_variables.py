"""Checks of the variables of OpenTelemetry."""

import pytest

from embedwire_server.config import otel_variables

ON = {"OTEL_TRACES_EXPORTER": "otlp"}
SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"


def names(variables: dict[str, str]) -> list[str]:
    return [fault.setting or fault.source for fault in otel_variables.faults(variables)]


@pytest.mark.parametrize(
    "variables",
    [
        ON,
        {"OTEL_TRACES_EXPORTER": "OTLP"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://[::1]:4318/v1/traces", "OTEL_TRACES_EXPORTER": ""},
        ON | {"OTEL_SDK_DISABLED": "false"},
        ON | {"OTEL_BSP_MAX_QUEUE_SIZE": "1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"},
        ON | {"OTEL_BSP_MAX_QUEUE_SIZE": "512", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"},
        ON | {SAMPLER: "traceidratio", ARGUMENT: "0"},
        ON | {SAMPLER: "parentbased_traceidratio", ARGUMENT: "1.0"},
        ON | {SAMPLER: "always_off", ARGUMENT: "unused"},
    ],
)
def test_on(variables: dict[str, str]) -> None:
    """One of three variables turns tracing on, if all are valid."""
    assert otel_variables.is_tracing_on(variables)
    assert names(variables) == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": ""},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"},
        {"OTEL_SERVICE_NAME": "mine", "OTEL_BSP_MAX_QUEUE_SIZE": "nonsense"},
        {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4317"},
    ],
)
def test_off(variables: dict[str, str]) -> None:
    """Without them, or if they turn it off, tracing is off, and no variable is an error."""
    assert not otel_variables.is_tracing_on(variables)
    assert names(variables) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317 "),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "yes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", ""),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "nan"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "inf"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1.5"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10000000000000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "00000000019999999999"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1" * 5000),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "٣"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "many"),
        (SAMPLER, "jaeger_remote"),
    ],
)
def test_invalid(name: str, value: str) -> None:
    """An invalid value is an error of its variable, and turns tracing off."""
    variables = ON | {name: value}
    assert names(variables) == [name]
    assert not otel_variables.is_tracing_on(variables)


@pytest.mark.parametrize(("queue", "batch"), [("511", None), (None, "2049"), ("1000", "1001")])
def test_a_batch_above_the_queue(queue: str | None, batch: str | None) -> None:
    """The SDK does not start if a batch is larger than the queue, also if only one of both is set."""
    found = {"OTEL_BSP_MAX_QUEUE_SIZE": queue, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": batch}
    variables = ON | {name: value for name, value in found.items() if value is not None}
    assert names(variables) == ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"]
    assert not otel_variables.is_tracing_on(variables)


@pytest.mark.parametrize("value", ["", "-0.1", "1.1", "nan", "half"])
def test_ratio(value: str) -> None:
    """A ratio must be from 0 to 1, where the sampler uses one: the SDK would record everything."""
    assert names(ON | {SAMPLER: "traceidratio", ARGUMENT: value}) == [ARGUMENT]
