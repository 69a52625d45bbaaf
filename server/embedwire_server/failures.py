"""Exceptions that nobody foresaw: the log gets where they happened, callers a constant text."""

import traceback

import structlog

from embedwire_server.errors import InternalError

log = structlog.get_logger(__name__)


def unforeseen(error: BaseException) -> InternalError:
    """Log an exception under the request id of the running call and return what the caller is told.

    The log names types and places, not the texts of exceptions: those quote whatever they choke on,
    a caller's content or a key.
    """
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 5:  # noqa: PLR2004 - deep enough to find the root
        causes.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    frames = traceback.extract_tb(error.__traceback__)
    log.error(
        "unforeseen exception",
        error_type=f"{type(error).__module__}.{type(error).__qualname__}",
        causes=causes,
        places=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    )
    return InternalError()
