"""Decoding of the failure of a call from its trailers, and of `embedwire.v1.Failure`."""

from typing import Any, Protocol

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from embedwire.errors import EmbedwireError, Failure, FieldViolation, QuotaViolation, UpstreamReply
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2

DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_REASONS = {number: name.removeprefix("ERROR_REASON_") for name, number in error_reason_pb2.ErrorReason.items()}
# Codes of calls that this client has ended; the reason has the same name.
_ENDED_BY_CLIENT = ("DEADLINE_EXCEEDED", "CANCELLED")


class FailedCall(Protocol):
    """Common interface of the exceptions of grpc and grpc.aio."""

    def code(self) -> grpc.StatusCode: ...  # noqa: D102

    def details(self) -> str | None: ...  # noqa: D102

    def trailing_metadata(self) -> Any: ...  # noqa: D102, ANN401 - the type differs between both


def error_from_call(call: FailedCall, request_id: str, task_id: str = "") -> EmbedwireError:
    """Return the exception for a failed call: from the `Failure` in its trailers, or else from its gRPC status.

    Args:
        call: the failed call.
        request_id: its id.
        task_id: the upstream's task of its only input, as known from its progress, for a failure without one.
    """
    message = _failure_in(call)
    if message is not None:
        return failure(message).with_task(task_id).error(request_id, message.attempts)
    code = call.code().name
    ended = Failure(code, code if code in _ENDED_BY_CLIENT else "", call.details() or "")
    return ended.with_task(task_id).error(request_id)


def failure(message: pb.Failure) -> Failure:
    """Decode the failure of an input or of a call."""
    reported = message.upstream_error
    return Failure(
        _CODES.get(message.code, str(message.code)),
        _REASONS.get(message.reason, str(message.reason)) if message.reason else "",
        message.message,
        tuple(FieldViolation(item.field, item.description) for item in message.field_violations),
        seconds(message.retry_delay) if message.HasField("retry_delay") else None,
        tuple(QuotaViolation(item.subject, item.description) for item in message.quota_violations),
        UpstreamReply(
            reported.http_status,
            reported.code,
            reported.message,
            reported.docs_url,
            dict(reported.rate_limit_headers),
            reported.trace_id,
        )
        if message.HasField("upstream_error")
        else None,
        message.cause,
        message.upstream_task_id,
    )


def seconds(duration: duration_pb2.Duration) -> float:
    """Convert a duration to seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def trailer(call: FailedCall, wanted: str) -> Any:  # noqa: ANN401 - a str, or bytes if the name ends in -bin
    """Return the first trailer with this name; None if there is none."""
    return next((value for key, value in call.trailing_metadata() or () if key == wanted), None)


def _failure_in(call: FailedCall) -> pb.Failure | None:
    """Return the `Failure` among the details of a call; None if there is none or it cannot be decoded."""
    try:
        status = status_pb2.Status.FromString(trailer(call, DETAILS_KEY) or b"")
        found = next((detail for detail in status.details if detail.Is(pb.Failure.DESCRIPTOR)), None)
        return None if found is None else pb.Failure.FromString(found.value)
    except DecodeError:  # not of an Embedwire server
        return None
