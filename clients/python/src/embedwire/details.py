"""Decoding of google.rpc.Status and its details from the trailers of a failed call.

The messages are those of google/rpc/status.proto and google/rpc/error_details.proto, reduced to the fields that are
read. They are defined here because the package depends on grpcio and protobuf only, and in a descriptor pool of their
own because they would clash with an installed googleapis-common-protos.
"""

import re
from typing import Any, Protocol

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.message import DecodeError

from embedwire.errors import EmbedwireError, Failure, FieldViolation, QuotaViolation, UpstreamReply

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
_PUSHBACK = re.compile(r"[0-9]{1,10}")  # milliseconds in 32 bits; a negative value means "do not retry"
DOMAIN = "embedwire"
_RATE_LIMIT = re.compile(r"(x-?)?rate-?limit|retry-after")  # the headers that the server forwards

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_FIELDS: dict[str, list[tuple[int, str, Any, bool]]] = {  # number, name, type or message, repeated
    "Status": [
        (1, "code", _INT32, False),
        (2, "message", _STRING, False),
        (3, "details", ".google.protobuf.Any", True),
    ],
    "Pair": [(1, "key", _STRING, False), (2, "value", _STRING, False)],
    "ErrorInfo": [
        (1, "reason", _STRING, False),
        (2, "domain", _STRING, False),
        (3, "metadata", ".google.rpc.Pair", True),  # the wire format of a map
    ],
    "RetryInfo": [(1, "retry_delay", ".google.protobuf.Duration", False)],
    "FieldViolation": [(1, "field", _STRING, False), (2, "description", _STRING, False)],
    "BadRequest": [(1, "field_violations", ".google.rpc.FieldViolation", True)],
    "Quota": [(1, "subject", _STRING, False), (2, "description", _STRING, False)],
    "QuotaFailure": [(1, "violations", ".google.rpc.Quota", True)],
}


class FailedCall(Protocol):
    """Common interface of the exceptions of grpc and grpc.aio."""

    def code(self) -> grpc.StatusCode: ...  # noqa: D102

    def details(self) -> str | None: ...  # noqa: D102

    def trailing_metadata(self) -> Any: ...  # noqa: D102, ANN401 - the type differs between both


def error_from_call(call: FailedCall, request_id: str) -> EmbedwireError:
    """Return the exception for a failed call, from the details in its trailers or else from its gRPC status."""
    trailing_metadata = call.trailing_metadata() or ()
    trailers = {key: value for key, value in trailing_metadata}  # noqa: C416 - dict() fails on older grpc.aio
    code, message = call.code().name, call.details() or ""
    details: dict[str, Any] = {}
    try:
        status = _MESSAGES["Status"].FromString(trailers.get(DETAILS_KEY, b""))
        for detail in status.details:
            name = detail.type_url.rpartition(".")[2]
            if name in _MESSAGES:
                details[name] = _MESSAGES[name].FromString(detail.value)
    except DecodeError:  # not from Embedwire; code and message are still valid
        details = {}
    info = details.get("ErrorInfo")
    if info is None or info.domain != DOMAIN:
        reason = code if code in ("DEADLINE_EXCEEDED", "CANCELLED") else ""
        return Failure(code, reason, message).error(request_id)
    metadata = {pair.key: pair.value for pair in info.metadata}
    failure = Failure(
        code,
        info.reason,
        message,
        violations=tuple(
            FieldViolation(item.field, item.description)
            for item in (details["BadRequest"].field_violations if "BadRequest" in details else ())
        ),
        retry_delay=seconds(details["RetryInfo"].retry_delay) if "RetryInfo" in details else None,
        quotas=tuple(
            QuotaViolation(item.subject, item.description)
            for item in (details["QuotaFailure"].violations if "QuotaFailure" in details else ())
        ),
        upstream=_upstream(metadata),
        cause=metadata.get("cause", ""),
    )
    return failure.error(request_id, _parse_int(metadata.get("attempts")))


def pushback_delay(call: FailedCall) -> float | None:
    """Return the retry delay of `grpc-retry-pushback-ms` in seconds; None if the call is not to be retried."""
    if call.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        return None
    value_ms = next((value for key, value in call.trailing_metadata() or () if key == PUSHBACK_KEY), "")
    return int(value_ms) / 1000 if _PUSHBACK.fullmatch(value_ms) else None


def seconds(duration: duration_pb2.Duration) -> float:
    """Convert a duration to seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def _parse_int(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _upstream(metadata: dict[str, str]) -> UpstreamReply | None:
    if "http_status" not in metadata:
        return None
    return UpstreamReply(
        _parse_int(metadata["http_status"]),
        metadata.get("upstream_code", ""),
        metadata.get("upstream_message", ""),
        metadata.get("docs_url", ""),
        {name: value for name, value in metadata.items() if _RATE_LIMIT.match(name)},
    )


def _messages() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="google/rpc/details.proto", package="google.rpc", syntax="proto3")
    for dependency in (any_pb2, duration_pb2):
        pool.AddSerializedFile(dependency.DESCRIPTOR.serialized_pb)
        file.dependency.append(dependency.DESCRIPTOR.name)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            descriptor = message.field.add(number=number, name=field, label=3 if repeated else 1)
            if isinstance(kind, str):
                descriptor.type, descriptor.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
            else:
                descriptor.type = kind
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{name}")) for name in _FIELDS}


_MESSAGES = _messages()
