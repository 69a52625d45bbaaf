"""Details of a failed call in its trailers, within the size that proxies pass on.

`embedwire.v1.Failure` has everything. The messages of google.rpc repeat parts of it, for tools that know only those.
All trailers of a failed call together have at most 3 KiB as encoded: proxies replace larger ones by a status of their
own (nginx has buffers of 4 KiB by default). What does not fit is left out: first what is repeated, then parts of
Failure.
"""

import functools
import operator
from collections.abc import Callable, Iterator

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import GatewayError, UpstreamErrorInfo, Violation
from embedwire_server.rpc import durations, status

DOMAIN = "embedwire.dev"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
MAX_VIOLATIONS = 20
MAX_MESSAGE_BYTES = 1024
MAX_TRAILERS_BYTES = 3 << 10
# The names of all trailers, and the values of those that are neither details nor message, at their longest.
_OTHER_BYTES = 408
MAX_SHORTENED_CODE = 64
_FEWER_VIOLATIONS = (20, 10, 5, 2, 1)


def trailers(error: GatewayError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailers of a failed call: its details, and the pushback for gRPC's own retries."""
    found: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, details(error)),)
    pushback = status.pushback(error)
    return found if pushback is None else (*found, (PUSHBACK_KEY, pushback))


def details(error: GatewayError) -> bytes:
    """Return the google.rpc.Status for the trailer `grpc-status-details-bin`."""
    message = status.message(error)
    room = (MAX_TRAILERS_BYTES - _OTHER_BYTES - status.encoded_size(message)) * 3 // 4  # it is sent as base64
    found = status_pb2.Status(code=status.code(error).value[0], message=message)
    found.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if error.retry_delay is not None:
        found.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=durations.of(error.retry_delay)))
    _append_first_fitting(found, _failures(error), room)
    _append_first_fitting(found, _quota_failures(error), room)
    _append_first_fitting(found, _bad_requests(error), room)
    encoded: bytes = found.SerializeToString()
    return encoded


def failure_message(error: GatewayError) -> pb.Failure:
    """Encode a failure as it is in the result of an input."""
    message = pb.Failure(
        code=status.code(error).value[0],
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=_truncated(error.message, MAX_MESSAGE_BYTES),
        quota_violations=[
            pb.QuotaViolation(subject=quota.subject, description=quota.description) for quota in error.quotas
        ],
        cause=error.cause or "",
        upstream_task_id=error.task_id,
    )
    _write_violations(message, error.violations, MAX_VIOLATIONS)
    if error.retry_delay is not None:
        message.retry_delay.CopyFrom(durations.of(error.retry_delay))
    if error.upstream is not None:
        message.upstream_error.CopyFrom(_upstream_error(error.upstream))
    return message


def _append_first_fitting(found: status_pb2.Status, shorter: Iterator[Message], room: int) -> None:
    """Append the first of these messages with which the status has at most `room` bytes; none if none fits."""
    for detail in shorter:
        found.details.add().Pack(detail)
        if found.ByteSize() <= room:
            return
        del found.details[-1]


def _failures(error: GatewayError) -> Iterator[pb.Failure]:
    """Generate the failure, then shorter and shorter forms of it."""
    failure = failure_message(error)
    failure.attempts = error.attempts
    yield failure
    said = failure.upstream_error
    if said.message and said.message == failure.message:
        said.message = ""
        yield failure
    for remove in _optional_parts(said):
        remove()
        yield failure
    for most in _FEWER_VIOLATIONS[1:]:
        _write_violations(failure, error.violations, most)
        del failure.quota_violations[most:]
        yield failure
    if len(said.code) > MAX_SHORTENED_CODE:
        said.code = said.code[:MAX_SHORTENED_CODE]
        yield failure
    for size in (512, 256, 128):
        if said.message:
            said.message = _truncated(said.message, size)
            yield failure
        failure.message = _truncated(failure.message, size)
        yield failure
    del failure.field_violations[:], failure.quota_violations[:]
    yield failure
    failure.ClearField("upstream_error")
    yield failure


def _optional_parts(said: pb.UpstreamError) -> list[Callable[[], object]]:
    """Return functions that remove optional parts: the trace id, then the others, the largest first.

    The others are the URL of the documentation and the rate limit headers.
    """
    headers = said.rate_limit_headers
    parts: list[tuple[int, Callable[[], object]]] = [
        (len(value), functools.partial(headers.pop, name)) for name, value in headers.items()
    ]
    if said.docs_url:
        parts.append((len(said.docs_url), functools.partial(said.ClearField, "docs_url")))
    others = [remove for _, remove in sorted(parts, key=operator.itemgetter(0), reverse=True)]
    return [functools.partial(said.ClearField, "trace_id"), *others] if said.trace_id else others


def _quota_failures(error: GatewayError) -> Iterator[Message]:
    for most in _FEWER_VIOLATIONS if error.quotas else ():
        yield error_details_pb2.QuotaFailure(
            violations=[
                error_details_pb2.QuotaFailure.Violation(subject=quota.subject, description=quota.description)
                for quota in error.quotas[:most]
            ]
        )


def _bad_requests(error: GatewayError) -> Iterator[Message]:
    for most in _FEWER_VIOLATIONS if error.violations else ():
        yield error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
                for violation in _listed(error.violations, most)
            ]
        )


def _listed(violations: tuple[Violation, ...], most: int) -> tuple[Violation, ...]:
    """Return at most `most` violations, and one more that counts the rest."""
    if len(violations) <= most:
        return violations
    return (*violations[:most], Violation("", f"and {len(violations) - most} more"))


def _write_violations(message: pb.Failure, violations: tuple[Violation, ...], most: int) -> None:
    del message.field_violations[:]
    for violation in _listed(violations, most):
        message.field_violations.add(field=violation.field, description=violation.description)


def _upstream_error(info: UpstreamErrorInfo) -> pb.UpstreamError:
    return pb.UpstreamError(
        http_status=info.http_status,
        code=info.code,
        message=info.message,
        docs_url=info.docs_url,
        rate_limit_headers=dict(info.rate_limit_headers),
        trace_id=info.trace_id,
    )


def _truncated(text: str, size: int) -> str:
    """Return the text, truncated to at most `size` bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[: size - 3].decode(errors="ignore") + "…"
