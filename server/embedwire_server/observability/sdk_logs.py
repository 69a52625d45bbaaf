"""Log lines about OpenTelemetry's own problems: at a bounded rate, and without secrets.

Its messages contain addresses, headers and texts of receivers. Only the constant part of a message is logged, with the
numbers, codes and types of errors in it.
"""

import enum
import logging
import time

import structlog

LOG_SECONDS = 60.0  # minimum interval between lines from the same place in its code

_WORDS = {"Span", "spans", "traces"}  # constants that its messages contain as arguments
_HIDDEN = "[...]"

log = structlog.get_logger(__name__)


def take_over() -> None:
    """Log the warnings of the SDK and its exporters."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [_Handler()]
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings contain addresses; the exporter reports as well


def end() -> None:
    """Log nothing more: after a stop that did not wait, the exporter reports only what was known before."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, int], tuple[float, int]] = {}  # time of the latest line, records since then

    def emit(self, record: logging.LogRecord) -> None:
        place, now = (record.pathname, record.lineno), time.monotonic()
        at, withheld = self._logged.get(place, (-LOG_SECONDS, 0))
        if now - at < LOG_SECONDS:
            self._logged[place] = at, withheld + 1
            return
        self._logged[place] = now, 0
        log.warning("OpenTelemetry reports a problem", message=_message(record), not_logged=withheld)


def _message(record: logging.LogRecord) -> str:
    arguments = record.args if isinstance(record.args, tuple) else ()
    try:
        return str(record.msg) % tuple(map(_shown, arguments))
    except (TypeError, ValueError):  # the hidden arguments do not fit
        return str(record.msg)


def _shown(argument: object) -> object:
    if isinstance(argument, enum.Enum):
        return argument.name
    if isinstance(argument, BaseException):
        return type(argument).__name__
    is_public = isinstance(argument, int | float) or (isinstance(argument, str) and argument in _WORDS)
    return argument if is_public else _HIDDEN
