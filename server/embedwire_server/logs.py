"""Log lines: structured, on standard error, each with the request id of the call that it is about."""

import contextvars
import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from embedwire_server.failures import described

# By this name structlog finds it as well where `configure` was not called, but its search costs as much as the line.
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("structlog_request_id")


def configure(level: str, form: str, **facts: object) -> None:
    """Set up logging for the process.

    Args:
        level: the least level that is written: debug, info, warning, error.
        form: "json", one object a line, or "text", for people.
        facts: what every line says beside its own.
    """

    def add_facts(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.update(facts)
        return event

    shared: list[structlog.typing.Processor] = [
        _add_request_id,
        add_facts,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_exception,
    ]
    # structlog's own renderers take two and three times as long for a line, and there is one a call.
    renderer: structlog.typing.Processor = _json if form == "json" else _text
    if form == "text" and sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(  # not by way of logging, which takes as long again
        processors=[*shared, renderer],
        logger_factory=_logger,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Other libraries quote what they handle: addresses, URLs, headers. Ours alone may speak below a warning.
    for name in ("asyncio", "aiohttp", "grpc", "grpc._cython.cygrpc", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _logger(name: str = "") -> structlog.WriteLogger:
    logger = structlog.WriteLogger(sys.stderr)
    logger.name = name  # type: ignore[attr-defined] # where `add_logger_name` looks for it
    return logger


def _add_request_id(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (current := request_id.get(None)) is not None:
        event["request_id"] = current
    return event


def _describe_exception(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put types and places where a traceback would show texts and variables, also for other libraries."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(described(error))
    return event


def _json(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    return _ENCODER.encode(event)


def _text(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    """One line for people: when, how grave, what; then the facts. Nothing in it can end the line."""
    head = f"{event.pop('timestamp')} [{event.pop('level')}] {event.pop('event')}"
    line = head + "".join([f" {name}={value}" for name, value in event.items()])
    return line if line.isprintable() else repr(line)


_ENCODER = json.JSONEncoder(default=repr)
