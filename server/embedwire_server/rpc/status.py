"""gRPC status of a failed call: the mapping from reasons to status codes, the status message and the retry pushback.

`error_reason.proto` documents the same codes; a test checks that they agree.
"""

import math
import re

import grpc

from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import GatewayError, Reason

DO_NOT_RETRY = "-1"
MAX_MESSAGE_BYTES = 512
MAX_PUSHBACK_MS = (1 << 31) - 1  # clients read a larger number as "never"

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED_MESSAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_UPLOAD_FRAMING: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UPLOAD_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CONTENT_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INPUT_REJECTED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.RESOURCE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.REPLY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.CALLER_UPSTREAM_CREDENTIALS: grpc.StatusCode.UNAUTHENTICATED,
    Reason.CALLER_STALLED: grpc.StatusCode.ABORTED,
    Reason.UPSTREAM_TASK_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.UPSTREAM_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UPSTREAM_QUOTA_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UPSTREAM_CREDENTIALS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UPSTREAM_PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.UPSTREAM_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT: grpc.StatusCode.UNAVAILABLE,
    Reason.UPSTREAM_CONFLICT: grpc.StatusCode.ABORTED,
    Reason.UPSTREAM_MALFORMED_REPLY: grpc.StatusCode.INTERNAL,
    Reason.UPSTREAM_INCOMPATIBLE: grpc.StatusCode.INTERNAL,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}

# A retry, on this server or another, may succeed. Only a call that a shutdown has ended may have cost a request.
RETRIABLE = {Reason.OVERLOADED, Reason.DRAINING}
_RETRIED_CODES = {CODES[reason] for reason in RETRIABLE}
_FIRST_OF_OTHERS = 100  # reasons with lower numbers are the caller's own fault
_PERCENT_ENCODED = re.compile(rb"[^ -$&-~]")  # in the message of a status, by gRPC over HTTP/2
_ELLIPSIS = "…"


def code(error: GatewayError) -> grpc.StatusCode:
    """Return the status code of a failure."""
    return CODES[error.reason]


def message(error: GatewayError) -> str:
    """Return the status message, at most 512 bytes as percent-encoded in the trailers; `Failure.message` has more."""
    text = error.message
    if encoded_size(text) <= MAX_MESSAGE_BYTES:
        return text
    room, size = MAX_MESSAGE_BYTES - encoded_size(_ELLIPSIS), 0
    for index, character in enumerate(text):
        size += encoded_size(character)
        if size > room:
            return text[:index] + _ELLIPSIS
    raise AssertionError  # the whole text is larger than the limit


def encoded_size(text: str) -> int:
    """Return the size of a status message in the trailers, where bytes other than printable ASCII take three."""
    encoded = text.encode()
    return len(encoded) + 2 * len(_PERCENT_ENCODED.findall(encoded))


def pushback(error: GatewayError) -> str | None:
    """Return the pushback for gRPC's own retries, by gRPC's proposal A6; None if there is none.

    A rejection that may be retried has the delay in milliseconds, at least 1, since clients on gRPC's C core (grpcio
    1.85) never retry after 0 but hang until their deadline. Any other failure that is not the caller's fault, or has
    the code of a rejection, has -1 (never), because this server has made its attempts and a client that is configured
    to retry the code would multiply them. Other failures, which the caller can fix, have none.
    """
    if error.reason in RETRIABLE:
        return str(max(1, math.ceil(min((error.retry_delay or 0) * 1000, MAX_PUSHBACK_MS))))
    is_callers = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}") < _FIRST_OF_OTHERS
    return None if is_callers and code(error) not in _RETRIED_CODES else DO_NOT_RETRY
