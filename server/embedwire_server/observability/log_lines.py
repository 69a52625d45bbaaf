"""Rendering of log events as lines, in JSON or as text. It never fails: it renders as much of an event as it can."""

import contextvars
import json
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

import structlog

from embedwire_server.observability import trace_context
from embedwire_server.observability.exception_logging import describe

# structlog finds it by this name where logging was not set up; not used here: its search costs as much as the line.
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("structlog_request_id")

MAX_LINE_CHARS = 1 << 16  # in a longer line, each value is truncated
_MAX_VALUES, _MAX_VALUE_CHARS = 32, 500
_MAX_NUMBER = 1e300
# Prefix of gRPC core's log lines: the level, month and day, the hour.
_CORE_LINE = re.compile(r"([IWEF])\d{4} \d\d:")
_CORE_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}

Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Any]


_UNSPECIFIED = 0
# Severities of OpenTelemetry's logs data model.
_SEVERITIES = {
    "debug": ("DEBUG", 5),
    "info": ("INFO", 9),
    "warning": ("WARN", 13),
    "error": ("ERROR", 17),
    "critical": ("FATAL", 21),
}


class _AttributeNames(dict[str, str]):
    """Names of a line's values in JSON: those of OpenTelemetry's semantic conventions, or `embedwire.` and the name."""

    def __missing__(self, name: str) -> str:
        return f"embedwire.{name}"


_ATTRIBUTE_NAMES = _AttributeNames(
    logger="otel.scope.name",
    method="rpc.method",
    code="rpc.response.status_code",
    seconds="rpc.server.call.duration",
    queue_seconds="embedwire.queue.duration",
    upload_seconds="embedwire.upload.duration",
    upstream_seconds="embedwire.upstream.duration",
    decode_seconds="embedwire.decode.duration",
    model="gen_ai.request.model",
    error_type="exception.type",
    stacktrace="exception.stacktrace",
    pid="process.pid",
    exit_status="process.exit.code",
    trace_id="trace_id",  # fields of the data model, not attributes
    span_id="span_id",
    trace_flags="trace_flags",
)


class _Named(NamedTuple):
    """A logger of which only the name is needed."""

    name: str


_STANDARD_ERROR = _Named("stderr")
_LOSS = _Named("embedwire_server.observability.logs")


class LogLines:
    """Log renderer: the only processor of structlog's loggers.

    Args:
        form: "json", one object a line, or "text", for people.
        facts: key-value pairs that are added to every line.
        is_terminal: whether the output is a terminal.
    """

    def __init__(self, form: str, facts: dict[str, object], *, is_terminal: bool) -> None:
        self._is_text = form == "text"
        self._render: Processor = _text if self._is_text else _json
        if self._is_text and is_terminal:
            self._render = structlog.dev.ConsoleRenderer()
        self._facts = facts
        self._second = (0, "")  # the latest one, and its text

    def __call__(self, logger: Any, level: str, event: Event) -> bytes:  # noqa: ANN401 - whatever has a name
        """Render one line, with its line break, of at most about `MAX_LINE_CHARS`."""
        try:
            if (current := request_id.get(None)) is not None:
                event["request_id"] = current
            if (trace := trace_context.current.get()) is not None:
                event["trace_id"], event["span_id"] = trace.trace_id, trace.span_id
                event["trace_flags"] = trace.flag_digits
            event.update(self._facts)
            event["level"] = level
            event["logger"] = logger.name
            event["timestamp"] = self._now()
            if "exc_info" in event:
                _describe_exception(event)
            line: str = self._render(logger, level, event)
            if len(line) > MAX_LINE_CHARS:
                line = self._reduced(event)
        except Exception:  # noqa: BLE001 - a value without a text or a JSON form
            line = self._reduced(event)
        return (line + "\n").encode(errors="backslashreplace")

    def foreign(self, line: str) -> bytes:
        """Render a line that other code has written to standard error; text is unchanged."""
        if self._is_text and len(line) <= MAX_LINE_CHARS:
            return (line + "\n").encode(errors="backslashreplace")
        found = _CORE_LINE.match(line)
        level = _CORE_LEVELS[found[1]] if found else "warning"
        return self(_STANDARD_ERROR, level, {"event": line})

    def of_loss(self, count: int) -> bytes:
        """Render the line that reports the number of lost lines."""
        return self(_LOSS, "warning", {"event": "log lines were lost", "lines": count})

    def _now(self) -> str:
        """Return the time in UTC. The text of the current second is cached."""
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        second, text = self._second
        if second != seconds:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._second = seconds, text  # one assignment: other threads read both
        return f"{text}.{nanoseconds // 1000:06d}Z"

    def _reduced(self, event: Event) -> str:
        """Render the event with values that can be rendered, each truncated."""
        own = [name for name in ("timestamp", "level", "event") if name in event]
        names = dict.fromkeys([*own, *list(event)[:_MAX_VALUES]])
        values: Event = {_shown(name): _plain(event[name]) for name in names}
        return _text(None, "", values) if self._is_text else _ENCODER.encode(_log_record(values))


def _describe_exception(event: Event) -> None:
    """Replace exception info by types and code locations, since tracebacks show messages and variables."""
    error = event.pop("exc_info")
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(describe(error))


def _json(_: object, __: str, event: Event) -> str:
    """Render one JSON object without lone surrogates, which JSON allows but not every reader accepts.

    Raises:
        ValueError: it has some, or a number that is not JSON.
    """
    line = _ENCODER.encode(_log_record(event))
    if "\\ud" in line:
        raise ValueError("surrogates")
    return line


def _log_record(event: Event) -> dict[str, Any]:
    """Name the values as OpenTelemetry does: the fields of its logs data model first, then the attributes, flat."""
    rest = dict(event)
    level = rest.pop("level", "")
    severity, number = _SEVERITIES.get(level, (str(level).upper(), _UNSPECIFIED))
    record = {"timestamp": rest.pop("timestamp", ""), "severity_text": severity, "severity_number": number}
    record["body"] = rest.pop("event", "")
    for name, value in rest.items():
        record[_ATTRIBUTE_NAMES[name]] = value
    return record


def _text(_: object, __: str, event: Event) -> str:
    """Render one line of text: time, level, event, key-value pairs. No value can contain a line break."""
    rest = dict(event)
    head = f"{rest.pop('timestamp', '')} [{rest.pop('level', '')}] {rest.pop('event', '')}"
    line = head + "".join([f" {name}={value}" for name, value in rest.items()])
    return line if line.isprintable() else repr(line)


def _plain(value: object) -> object:
    """Convert a value to one that every renderer accepts."""
    is_number = isinstance(value, int | float) and -_MAX_NUMBER < value < _MAX_NUMBER  # not NaN
    return value if is_number or value is None else _shown(value)


def _shown(value: object) -> str:
    """Return the beginning of a value's text, or its type if it has none."""
    try:
        text = value if isinstance(value, str) else repr(value)
        return text[:_MAX_VALUE_CHARS].encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001 - whatever its `__repr__` does
        return f"<{type(value).__name__}>"


_ENCODER = json.JSONEncoder(default=repr, allow_nan=False)
