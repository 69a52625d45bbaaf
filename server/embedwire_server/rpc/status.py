"""gRPC status of a failed call: the mapping from reasons to status codes, error details and retry pushback.

`error_reason.proto` documents the same codes; a test checks that they agree.
"""

import math
import re
from collections.abc import MutableMapping

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import GatewayError, Reason, Violation

DOMAIN = "embedwire"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
DO_NOT_RETRY = "-1"
MAX_VIOLATIONS = 20
# gRPC peers reject trailers above 8 KB, some at random; other trailers count as well.
MAX_ENCODED_BYTES = 6_000
MAX_MESSAGE_BYTES = 1024
MAX_DURATION_SECONDS = 315_576_000_000  # 10,000 years, by the definition of Duration
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

_PERCENT_ENCODED = re.compile(rb"[^ -$&-~]")  # in the message of a status, by gRPC over HTTP/2

# Rejected before any work was done: a retry, on this server or another, costs nothing.
RETRIABLE = {Reason.OVERLOADED, Reason.DRAINING}
_RETRIED_CODES = {CODES[reason] for reason in RETRIABLE}
_FIRST_OF_OTHERS = 100  # reasons with lower numbers are the caller's own fault


def code(error: GatewayError) -> grpc.StatusCode:
    """Return the status code of a failure."""
    return CODES[error.reason]


def listed(violations: tuple[Violation, ...]) -> tuple[Violation, ...]:
    """Return at most 20 violations, and one more that counts the rest."""
    if len(violations) <= MAX_VIOLATIONS:
        return violations
    return (*violations[:MAX_VIOLATIONS], Violation("", f"and {len(violations) - MAX_VIOLATIONS} more"))


def text(error: GatewayError) -> str:
    """Return the status message, at most 1 KB of UTF-8."""
    encoded = error.message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return error.message
    return encoded[: MAX_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"


def trailers(error: GatewayError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailers of a failed call: its details, and the pushback for gRPC's own retries.

    Pushback follows gRPC's proposal A6. A rejection that may be retried has the delay in milliseconds, at least 1,
    since
    clients on gRPC's C core (grpcio 1.85) never retry after 0 but hang until their deadline. Any other failure that is
    not
    the caller's fault, or has the code of a rejection, has -1 (never), because this server has made its attempts and a
    client that is configured to retry the code would multiply them. Other failures, which the caller can fix, have
    none.
    """
    found: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, details(error)),)
    pushback = _pushback(error)
    return found if pushback is None else (*found, (PUSHBACK_KEY, pushback))


def _pushback(error: GatewayError) -> str | None:
    if error.reason in RETRIABLE:
        return str(max(1, math.ceil(min((error.retry_delay or 0) * 1000, MAX_PUSHBACK_MS))))
    is_callers = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}") < _FIRST_OF_OTHERS
    return None if is_callers and code(error) not in _RETRIED_CODES else DO_NOT_RETRY


def details(error: GatewayError) -> bytes:
    """Return the google.rpc.Status for the trailer `grpc-status-details-bin`.

    Together with the status message it stays below 6 KB as encoded in the trailers. What does not fit is left out:
    later
    details before earlier ones, later violations before earlier ones.
    """
    message = text(error)
    sent = message.encode()
    taken = len(sent) + 2 * len(_PERCENT_ENCODED.findall(sent))
    room = (MAX_ENCODED_BYTES - taken) * 3 // 4  # details are sent as base64
    status = status_pb2.Status(code=code(error).value[0], message=message)
    for detail in _details(error):
        _append(status, detail, room)
    encoded: bytes = status.SerializeToString()
    return encoded


def _append(status: status_pb2.Status, detail: Message, room: int) -> None:
    """Add a detail, shortened until it fits, or nothing if no part of it fits."""
    parts = [value for field, value in detail.ListFields() if field.is_repeated]  # violations, or metadata
    while True:
        status.details.add().Pack(detail)
        if status.ByteSize() <= room:
            return
        del status.details[-1]
        if not any(parts):
            return
        part = next(part for part in parts if part)
        del part[max(part, key=lambda key: len(part[key])) if isinstance(part, MutableMapping) else -1]


def _details(error: GatewayError) -> list[Message]:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    is_counted = error.attempts or error.cause is not None  # 0 without a connection: no request was sent
    facts = {"attempts": str(error.attempts) if is_counted else "", "cause": error.cause or ""}
    if upstream := error.upstream:
        facts |= {
            "http_status": str(upstream.http_status),
            "upstream_code": upstream.code,
            "upstream_message": upstream.message,
        }
        facts |= {"docs_url": upstream.docs_url, **dict(upstream.rate_limit_headers)}
    info.metadata.update({name: value for name, value in facts.items() if value})
    found: list[Message] = []
    if error.retry_delay is not None:  # the most important detail, and small enough to fit always
        found.append(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_delay)))
    found.append(info)
    if error.quotas:
        quotas = [
            error_details_pb2.QuotaFailure.Violation(subject=quota.subject, description=quota.description)
            for quota in error.quotas
        ]
        found.append(error_details_pb2.QuotaFailure(violations=quotas))
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in listed(error.violations)
        ]
        found.append(error_details_pb2.BadRequest(field_violations=violations))
    return found


def duration(seconds: float) -> duration_pb2.Duration:
    """Convert seconds to a Duration; see `write_duration`."""
    message = duration_pb2.Duration()
    write_duration(message, seconds)
    return message


def write_duration(message: duration_pb2.Duration, seconds: float) -> None:
    """Write seconds into a Duration, rounded to the microsecond, at most its maximum."""
    micros = round(seconds * 1_000_000) if seconds < MAX_DURATION_SECONDS else int(MAX_DURATION_SECONDS) * 1_000_000
    message.nanos = micros % 1_000_000 * 1000  # marks the field as present, also if it is 0
    if micros >= 1_000_000:  # noqa: PLR2004
        message.seconds = micros // 1_000_000
