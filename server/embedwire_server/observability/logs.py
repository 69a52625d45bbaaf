"""Logging setup: structured lines on standard error, each with the request id of its call.

No line can fail, delay or block a call: `LogLines` renders as much of an event as it can, and `LogWriter` writes it in
a thread.
"""

import asyncio
import atexit
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import structlog

from embedwire_server.observability import standard_error
from embedwire_server.observability.exception_logging import describe
from embedwire_server.observability.log_lines import LogLines, request_id
from embedwire_server.observability.log_writer import LogWriter

__all__ = ["configure", "descriptor", "dropped_lines", "flush", "report_loop_exception", "request_id"]

_FLUSH_SECONDS = 1.0  # at the end of the process; lines that are not written by then are lost

log = structlog.get_logger(__name__)


class _Process:
    """The state of the process."""

    writer: LogWriter | None = None


def configure(level: str, form: str, original: int | None = None, **facts: object) -> None:
    """Set up logging for the process, once; from now on, all of standard error is part of the log.

    Args:
        level: the lowest level that is written: debug, info, warning, error.
        form: "json", one object a line, or "text", for people.
        original: the descriptor to write to, if a parent process already reads this one's standard error.
        facts: key-value pairs that are added to every line.
    """
    file = standard_error.duplicate() if original is None else original
    lines = LogLines(form, facts, is_terminal=file >= 0 and os.isatty(file))
    writer = _Process.writer = LogWriter(file, lines.of_loss)
    structlog.configure(  # not through logging, which doubles the cost
        processors=[lines],
        logger_factory=lambda name="": _Logger(name, writer.put),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    _take_over_logging(_Handler(lines, writer.put), level)

    def take(line: str) -> None:
        writer.put(lines.foreign(line))

    atexit.register(_end)
    sys.stderr = standard_error.Stream(take)
    if original is None:
        standard_error.redirect(file, take)
        if file >= 0:
            faulthandler.enable(file)  # a crash report cannot wait for a thread
    else:
        faulthandler.enable(standard_error.DESCRIPTOR)
    _report_exceptions()


def flush(seconds: float = _FLUSH_SECONDS) -> None:
    """Wait up to `seconds` until all lines are written."""
    standard_error.flush(seconds / 2)
    if _Process.writer is not None:
        _Process.writer.flush(seconds)


def _end() -> None:
    flush()
    standard_error.restore()


def descriptor() -> int | None:
    """Return the descriptor that lines are written to, for child processes; None if there is none."""
    return None if _Process.writer is None or _Process.writer.file < 0 else _Process.writer.file


def dropped_lines() -> int:
    """Return how many lines this process has lost since its start."""
    return 0 if _Process.writer is None else _Process.writer.dropped


def report_loop_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception of the event loop. asyncio's own handler quotes objects, which may contain callers' content."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log.error("unexpected exception", **describe(error))
    else:
        log.error("the event loop has reported an error", kind=str(context.get("message")).partition("<")[0][:100])


def _take_over_logging(handler: logging.Handler, level: str) -> None:
    """Write the records of other libraries in the same form."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # Below a warning they log addresses, URLs and headers.
    for name in ("asyncio", "aiohttp", "grpc", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _report_exceptions() -> None:
    """Log uncaught exceptions by type and location; Python would print their messages, in many lines."""
    sys.excepthook = lambda _, error, __: _unforeseen(error)
    threading.excepthook = lambda details: _unforeseen(details.exc_value)
    sys.unraisablehook = lambda details: _unforeseen(details.exc_value)


def _unforeseen(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        log.error("unexpected exception", **describe(error))


class _Logger:
    """structlog's final logger, which passes rendered lines to the writer."""

    def __init__(self, name: str, put: Callable[[bytes], None]) -> None:
        self.name = name  # `add_logger_name` reads it
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = put


class _Handler(logging.Handler):
    """Logging handler that writes the records of the standard library's loggers."""

    def __init__(self, lines: LogLines, put: Callable[[bytes], None]) -> None:
        super().__init__()
        self._lines, self._put = lines, put

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - the arguments do not fit the message, or one of them has no text
            message = record.msg
        level = record.levelname.lower()
        self._put(self._lines(record, level, {"event": message, "exc_info": record.exc_info}))
