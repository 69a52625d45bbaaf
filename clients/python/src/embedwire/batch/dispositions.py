"""Dispositions of failed inputs: what a batch does after each failure."""

import enum
import errno
import os

from embedwire.errors import Failure, RequestError, TransportError


class Disposition(enum.Enum):
    """What to do after the failure of an input.

    Attributes:
        PERMANENT: the input is at fault; it ends with this failure.
        AGAIN: the failure is temporary; the input is sent again.
        STOP: every input would fail; the batch ends.
    """

    PERMANENT = enum.auto()
    AGAIN = enum.auto()
    STOP = enum.auto()


_PERMANENT, _AGAIN, _STOP = Disposition

# Reasons whose group does not decide: the server rejected the client, or the upstream rejected the server.
_BY_REASON = {
    "MALFORMED_MESSAGE": _STOP,
    "DEADLINE_EXCEEDED": _AGAIN,
    "CANCELLED": _AGAIN,
    "UNAUTHENTICATED": _STOP,
    "PERMISSION_DENIED": _STOP,
    "CALLER_UPSTREAM_CREDENTIALS": _STOP,
    "CALLER_STALLED": _AGAIN,
    "UPSTREAM_QUOTA_EXHAUSTED": _STOP,
    "UPSTREAM_CREDENTIALS": _STOP,
    "UPSTREAM_PERMISSION_DENIED": _STOP,
    "UPSTREAM_INCOMPATIBLE": _STOP,
}
# Codes of calls that gRPC or a proxy ended.
_OF_TRANSPORT = {
    "UNAUTHENTICATED": _STOP,
    "PERMISSION_DENIED": _STOP,
    "UNIMPLEMENTED": _STOP,
}
# Errors that concern one file, after which reading it again fails again. All others may be an outage of its storage.
_OF_FILES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)
_UNREADABLE = "cannot be read: "  # as `map` describes it
_UNREADABLE_FOR_EVER = {f"{_UNREADABLE}{os.strerror(number)}" for number in _OF_FILES}


def disposition(failure: Failure) -> Disposition:
    """Return what to do after a failure of an input."""
    error = failure.error()
    if isinstance(error, TransportError):
        return _OF_TRANSPORT.get(failure.code, _AGAIN)
    if failure.reason == "INVALID_REQUEST" and not _is_of_input(failure):
        return _STOP  # for instance the model
    if failure.reason == "INVALID_REQUEST" and _may_be_readable_later(failure):
        return _AGAIN
    if failure.reason == "RATE_LIMITED" and failure.retry_delay is None:
        return _PERMANENT  # it alone exceeds a rate limit
    return _BY_REASON.get(failure.reason, _PERMANENT if isinstance(error, RequestError) else _AGAIN)


def has_reached_server(failure: Failure) -> bool:
    """Return whether the server has received the call: otherwise the failure has no information about the input."""
    return not (failure.reason == "" and failure.code == "UNAVAILABLE")


def _is_of_input(failure: Failure) -> bool:
    """Return whether an invalid request is the fault of single inputs."""
    return not failure.violations or any(each.field.startswith("inputs[") for each in failure.violations)


def _may_be_readable_later(failure: Failure) -> bool:
    """Return whether the content could not be read, for a reason that may be temporary."""
    faults = {each.description for each in failure.violations if each.description.startswith(_UNREADABLE)}
    return bool(faults) and not faults & _UNREADABLE_FOR_EVER
