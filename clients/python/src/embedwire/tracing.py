"""The W3C trace context of a call, if OpenTelemetry is present in the process."""

import re
import sys

_NAMES = ("traceparent", "tracestate")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]+")


def trace_context() -> list[tuple[str, str]]:
    """Return the metadata `traceparent` and `tracestate` of the current span; none without OpenTelemetry or a span.

    If OpenTelemetry fails, there is no metadata: tracing must not fail a call.
    """
    if "opentelemetry" not in sys.modules:
        return []
    carrier: dict[str, str] = {}
    try:
        from opentelemetry.propagate import inject  # noqa: PLC0415 - optional

        inject(carrier)
        return [(name, carrier[name]) for name in _NAMES if _HEADER_VALUE.fullmatch(carrier.get(name, ""))]
    except Exception:  # noqa: BLE001 - see above
        return []
