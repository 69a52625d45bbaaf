"""Checks of the variables of OpenTelemetry (`OTEL_*`), which its SDK reads.

The SDK raises for some invalid values, and replaces others by a default that may export more than was meant. Here, an
invalid value turns tracing off, with a warning. https://opentelemetry.io/docs/specs/otel/configuration/
"""

import importlib.util
import math
import re
from collections.abc import Callable, Iterator, Mapping

from embedwire_server.config.errors import Fault

INSTALL = "pip install 'embedwire-server[otel]'"

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_REQUESTS = ("OTEL_TRACES_EXPORTER", *_ENDPOINTS)
_URL = re.compile(r"https?://[^\s/?#]+(/\S*)?", re.IGNORECASE)
_BATCH, _QUEUE = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512"), ("OTEL_BSP_MAX_QUEUE_SIZE", "2048")  # with the defaults
_RATIOS = ("traceidratio", "parentbased_traceidratio")
_MOST = 1_000_000  # spans or milliseconds

_Check = Callable[[str], bool]


def _one_of(*values: str) -> tuple[_Check, str]:
    return lambda text: text.lower() in {"", *values}, f"must be {', '.join(values[:-1])} or {values[-1]}"


def _whole(least: int) -> tuple[_Check, str]:
    allowed = range(least, _MOST + 1)
    return lambda text: text.isascii() and text.isdigit() and len(text) <= len(str(_MOST)) and int(text) in allowed, (
        f"must be a whole number from {least} to {_MOST}"
    )


def _is_seconds(text: str) -> bool:
    return 0 < _number(text) <= _MOST


_SECONDS = _is_seconds, "must be a number of seconds above 0"
_ENDPOINT: tuple[_Check, str] = (
    lambda text: not text or _URL.fullmatch(text) is not None,
    "must be a URL such as http://collector.example:4317",
)
_PROTOCOL, _COMPRESSION = _one_of("grpc", "http/protobuf"), _one_of("none", "gzip", "deflate")
_BOOLEAN, _COUNT, _LIMIT = _one_of("true", "false"), _whole(1), _whole(0)
_CHECKS: dict[str, tuple[_Check, str]] = {
    "OTEL_TRACES_EXPORTER": _one_of("otlp", "none"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": _ENDPOINT,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": _ENDPOINT,
    "OTEL_EXPORTER_OTLP_PROTOCOL": _PROTOCOL,
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": _PROTOCOL,
    "OTEL_EXPORTER_OTLP_COMPRESSION": _COMPRESSION,
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": _COMPRESSION,
    "OTEL_EXPORTER_OTLP_INSECURE": _BOOLEAN,
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE": _BOOLEAN,
    "OTEL_EXPORTER_OTLP_TIMEOUT": _SECONDS,
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": _SECONDS,
    "OTEL_TRACES_SAMPLER": _one_of(
        "always_on", "always_off", "parentbased_always_on", "parentbased_always_off", *_RATIOS
    ),
    "OTEL_BSP_SCHEDULE_DELAY": _COUNT,
    "OTEL_BSP_EXPORT_TIMEOUT": _COUNT,
    "OTEL_BSP_MAX_QUEUE_SIZE": _COUNT,
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": _COUNT,
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": _LIMIT,
    "OTEL_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": _LIMIT,
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    # Nothing here has events or links, but the SDK does not start with an invalid limit.
    "OTEL_SPAN_EVENT_COUNT_LIMIT": _LIMIT,
    "OTEL_SPAN_LINK_COUNT_LIMIT": _LIMIT,
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": _LIMIT,
}


def is_tracing_on(variables: Mapping[str, str]) -> bool:
    """Return whether spans are recorded: the variables ask for it, they are valid, and the extra is installed."""
    return _is_requested(variables) and next(faults(variables), None) is None


def faults(variables: Mapping[str, str]) -> Iterator[Fault]:
    """Yield why tracing is off although the variables ask for it. Values are not quoted: some are secrets."""
    if not _is_requested(variables):
        return
    if not _is_installed():
        name = next(name for name in _REQUESTS if variables.get(name))
        yield Fault(name, f"traces are not recorded: the packages of OpenTelemetry are missing; {INSTALL}")
        return
    for name, text in _invalid(variables):
        yield Fault(name, f"traces are not recorded: {text}")


def _invalid(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, (is_valid, text) in _CHECKS.items():
        if name in variables and not is_valid(variables[name]):
            yield name, text
    batch, queue = variables.get(*_BATCH), variables.get(*_QUEUE)
    if all(_COUNT[0](text) for text in (batch, queue)) and int(batch) > int(queue):
        yield _BATCH[0], f"must not be above {_QUEUE[0]}; the defaults are {_BATCH[1]} and {_QUEUE[1]}"
    sampler = variables.get("OTEL_TRACES_SAMPLER", "").lower()
    if sampler in _RATIOS and not 0 <= _number(variables.get("OTEL_TRACES_SAMPLER_ARG", "")) <= 1:
        yield "OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1: the part of the traces to record"


def _number(text: str) -> float:
    """Return a number; NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_requested(variables: Mapping[str, str]) -> bool:
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = variables.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter != "none" and any(variables.get(name) for name in _REQUESTS)


def _is_installed() -> bool:
    """Return whether the packages of the extra can be imported; only their parents are."""
    try:
        return all(
            importlib.util.find_spec(f"opentelemetry.{name}") is not None
            for name in ("sdk", "exporter.otlp.proto.grpc", "exporter.otlp.proto.http")
        )
    except ModuleNotFoundError:
        return False
