"""Reporting of unexpected exceptions: their types and code locations for the log, a constant message for callers."""

import traceback
from typing import Any

import structlog

from embedwire_server.core import failure_causes
from embedwire_server.core.errors import GatewayError, InternalError, ResourceFailure

log = structlog.get_logger(__name__)

_DEEPEST_CAUSE = 5
_MOST_FRAMES = 50  # the innermost ones


def log_unexpected(error: BaseException) -> GatewayError:
    """Log an exception under the request id of the running call, and return the failure for the caller."""
    log.error("unexpected exception", **describe(error))
    lacking = failure_causes.lacking(error)
    return InternalError() if lacking is None else ResourceFailure(lacking)


def describe(error: BaseException) -> dict[str, Any]:
    """Return what a log line may contain of an exception: its types and code locations.

    Not its message, which quotes the value that caused it, such as a caller's content or a key.
    """
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < _DEEPEST_CAUSE:
        causes.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    frames = traceback.extract_tb(error.__traceback__, -_MOST_FRAMES)
    return {
        "error_type": f"{type(error).__module__}.{type(error).__qualname__}",
        "causes": causes,
        "stacktrace": "; ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames),
    }
