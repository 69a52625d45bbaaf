"""What a failed call carries in its trailers: google.rpc.Status with its details, as a `Failure`.

The messages are described here, in a pool of their own, because this package depends on grpcio and protobuf only.
They are those of google/rpc/status.proto and google/rpc/error_details.proto, reduced to the fields that are read;
in a private pool they cannot clash with googleapis-common-protos, if that is installed too.
"""

import re
from typing import Any, Protocol

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.message import DecodeError

from embedwire.errors import EmbedwireError, Failure, FieldViolation, QuotaViolation, UpstreamReply

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
_PUSHBACK = re.compile(r"[0-9]{1,10}")  # milliseconds; gRPC reads 32 bits, and what is negative as "never"
DOMAIN = "embedwire"
_RATE_LIMIT = re.compile(r"(x-?)?rate-?limit|retry-after")  # those that the server passes on

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
        (3, "metadata", ".google.rpc.Pair", True),  # a map is, on the wire, a list of pairs
    ],
    "RetryInfo": [(1, "retry_delay", ".google.protobuf.Duration", False)],
    "FieldViolation": [(1, "field", _STRING, False), (2, "description", _STRING, False)],
    "BadRequest": [(1, "field_violations", ".google.rpc.FieldViolation", True)],
    "Quota": [(1, "subject", _STRING, False), (2, "description", _STRING, False)],
    "QuotaFailure": [(1, "violations", ".google.rpc.Quota", True)],
}


class FailedCall(Protocol):
    """What grpc and grpc.aio both say of a call that failed."""

    def code(self) -> grpc.StatusCode: ...  # noqa: D102

    def details(self) -> str | None: ...  # noqa: D102

    def trailing_metadata(self) -> Any: ...  # noqa: D102, ANN401 - pairs of either library


def error_of(call: FailedCall, request_id: str) -> EmbedwireError:
    """The exception for a failed call: all that its trailers say, or what gRPC itself knows."""
    pairs = call.trailing_metadata() or ()
    trailers = {key: value for key, value in pairs}  # noqa: C416 - dict() takes older grpc.aio's for a mapping
    code, message = call.code().name, call.details() or ""
    found: dict[str, Any] = {}
    try:
        status = _MESSAGES["Status"].FromString(trailers.get(DETAILS_KEY, b""))
        for detail in status.details:
            name = detail.type_url.rpartition(".")[2]
            if name in _MESSAGES:
                found[name] = _MESSAGES[name].FromString(detail.value)
    except DecodeError:  # another server's; the code and the message still hold
        found = {}
    info = found.get("ErrorInfo")
    if info is None or info.domain != DOMAIN:
        reason = code if code in ("DEADLINE_EXCEEDED", "CANCELLED") else ""
        return Failure(code, reason, message).error(request_id)
    facts = {pair.key: pair.value for pair in info.metadata}
    failure = Failure(
        code,
        info.reason,
        message,
        violations=tuple(
            FieldViolation(item.field, item.description)
            for item in (found["BadRequest"].field_violations if "BadRequest" in found else ())
        ),
        retry_delay=seconds(found["RetryInfo"].retry_delay) if "RetryInfo" in found else None,
        quotas=tuple(
            QuotaViolation(item.subject, item.description)
            for item in (found["QuotaFailure"].violations if "QuotaFailure" in found else ())
        ),
        upstream=_upstream(facts),
        cause=facts.get("cause", ""),
    )
    return failure.error(request_id, _number(facts.get("attempts")))


def pushback(call: FailedCall) -> float | None:
    """Seconds after which the server wants a refused call back; None if it does not, as with every other failure."""
    if call.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        return None
    asked = next((value for key, value in call.trailing_metadata() or () if key == PUSHBACK_KEY), "")
    return int(asked) / 1000 if _PUSHBACK.fullmatch(asked) else None


def seconds(duration: duration_pb2.Duration) -> float:
    """A duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _upstream(facts: dict[str, str]) -> UpstreamReply | None:
    if "http_status" not in facts:
        return None
    return UpstreamReply(
        _number(facts["http_status"]),
        facts.get("upstream_code", ""),
        facts.get("upstream_message", ""),
        facts.get("docs_url", ""),
        {name: value for name, value in facts.items() if _RATE_LIMIT.match(name)},
    )


def _messages() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="google/rpc/details.proto", package="google.rpc", syntax="proto3")
    for known in (any_pb2, duration_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        file.dependency.append(known.DESCRIPTOR.name)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            described = message.field.add(number=number, name=field, label=3 if repeated else 1)
            if isinstance(kind, str):
                described.type, described.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
            else:
                described.type = kind
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{name}")) for name in _FIELDS}


_MESSAGES = _messages()
