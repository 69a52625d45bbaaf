"""Log lines: structured, on standard error, each with the request id of the call that it is about."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from embedwire_server.failures import described


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
        structlog.contextvars.merge_contextvars,
        add_facts,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_exception,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(  # not by way of logging, which takes as long again for each line, and there is one a call
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
