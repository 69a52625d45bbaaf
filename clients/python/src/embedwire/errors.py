"""Exceptions, and the failure of a call or an input.

    EmbedwireError                base class: a `Failure` and the request id
    ├── RequestError              caused by the request: its content, files, credentials or deadline
    │   └── DeadlineExceededError the deadline passed; also a TimeoutError
    ├── RefusedError              rejected by a policy of the server; may succeed later or on another replica
    ├── UpstreamError             the upstream failed, or rejected the server
    ├── GatewayError              the server failed, or sent an invalid response
    └── TransportError            gRPC or an intermediary ended the call; also a ConnectionError

The class depends on the group of the reason (see `proto/embedwire/v1/error_reason.proto`). `reason` is the name of the
enum value without its prefix, as in the server's metrics and log. An empty reason means that gRPC, a proxy or a load
balancer ended the call; the server may or may not have worked on it.

A call of a closed client raises `ClosedError`, a RuntimeError that is not an EmbedwireError.
"""

import dataclasses
from collections.abc import Mapping

from embedwire.v1.error_reason_pb2 import ErrorReason

_PREFIX = "ERROR_REASON_"


@dataclasses.dataclass(frozen=True, slots=True)
class FieldViolation:
    """One invalid field of the request.

    Attributes:
        field: path of the field, for instance "inputs[2].audio.source.url".
        description: the fault, the limit, and how to correct it.
    """

    field: str
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class QuotaViolation:
    """One exhausted quota.

    Attributes:
        subject: subject of the quota, for instance "modality:audio".
        description: the quota, its limit, and when it is available again.
    """

    subject: str
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class UpstreamReply:
    """Error response of the upstream, truncated to 1 KB and without control characters.

    Attributes:
        http_status: HTTP status code.
        code: error code of the upstream, for instance "parameter_invalid"; empty if absent.
        message: message of the upstream; empty if absent, or if it equals that of the failure of the call.
        docs_url: URL of the upstream's documentation of the error; empty if absent.
        rate_limit_headers: rate limit headers, with lower-case names.
        trace_id: identifier of the request at the upstream, for its support; empty if absent.
    """

    http_status: int
    code: str = ""
    message: str = dataclasses.field(default="", repr=False)
    docs_url: str = ""
    rate_limit_headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    trace_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Failure of an input or of a call.

    Attributes:
        code: name of the gRPC status code, for instance "INVALID_ARGUMENT".
        reason: a value of `ErrorReason`, for instance "INPUT_REJECTED"; empty if gRPC or a proxy ended the call.
        message: one sentence for a developer, not meant to be parsed.
        violations: invalid fields of the request; after 20 fields, one entry with the number of the others.
        retry_delay: seconds to wait before a retry; None if waiting is not known to help.
        quotas: exhausted quotas.
        upstream: error response of the upstream; None if there is none.
        cause: why the upstream could not be reached, or which resource the server lacks, for instance
            "connection_refused"; empty for all other failures. `embedding.proto` lists the values.
        upstream_task_id: identifier of the upstream's task, if one was created for the failed input; else empty. After
            a passed deadline, `Audio(task_id=...)` gets its result. The failure of a call with several inputs has none:
            `Progress` has the identifiers.
    """

    code: str
    reason: str
    message: str = dataclasses.field(repr=False)
    violations: tuple[FieldViolation, ...] = ()
    retry_delay: float | None = None
    quotas: tuple[QuotaViolation, ...] = ()
    upstream: UpstreamReply | None = None
    cause: str = ""
    upstream_task_id: str = ""

    def with_task(self, task_id: str) -> "Failure":
        """Return this failure with the identifier of a task, unless it has one."""
        return dataclasses.replace(self, upstream_task_id=self.upstream_task_id or task_id)

    def __str__(self) -> str:
        return f"{self.reason or self.code}: {self.message}"

    def error(self, request_id: str = "", attempts: int = 0) -> "EmbedwireError":
        """Return the exception for this failure. The group of the reason decides its class.

        Args:
            request_id: id of the call in the server's log.
            attempts: number of upstream requests for the input.
        """
        return _error_class(self)(self, request_id, attempts)


class EmbedwireError(Exception):
    """Failure of a call or of an input. The subclass is the party at fault.

    Attributes:
        failure: the failure with all details.
        request_id: id of the call in the server's log.
        attempts: number of upstream requests for the input; 0 if none or unknown.
    """

    def __init__(self, failure: Failure, request_id: str = "", attempts: int = 0) -> None:
        BaseException.__init__(self, failure, request_id, attempts)  # OSError takes them for errno and text
        self.failure = failure
        self.request_id = request_id
        self.attempts = attempts

    def __str__(self) -> str:
        return f"{self.failure} (request id {self.request_id})" if self.request_id else str(self.failure)

    def __repr__(self) -> str:
        """Return a repr without the message, which may quote content of the request."""
        return f"{type(self).__name__}({self.code}, {self.reason or 'no reason'}, request_id={self.request_id!r})"

    @property
    def code(self) -> str:
        """Name of the gRPC status code, for instance "INVALID_ARGUMENT"."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """Reason, for instance "INPUT_REJECTED"; see `Failure`."""
        return self.failure.reason

    @property
    def message(self) -> str:
        """One sentence for a developer."""
        return self.failure.message

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """Invalid fields of the request."""
        return self.failure.violations

    @property
    def retry_delay(self) -> float | None:
        """Seconds to wait before a retry; None if waiting is not known to help."""
        return self.failure.retry_delay

    @property
    def upstream(self) -> UpstreamReply | None:
        """Error response of the upstream; None if there is none."""
        return self.failure.upstream

    @property
    def cause(self) -> str:
        """Why the upstream could not be reached, for instance "connection_refused"; see `Failure`."""
        return self.failure.cause

    @property
    def upstream_task_id(self) -> str:
        """Identifier of the upstream's task, if one was created for the failed input; see `Failure`."""
        return self.failure.upstream_task_id


class RequestError(EmbedwireError):
    """A failure caused by the request: its content, files, credentials or deadline."""


class DeadlineExceededError(RequestError, TimeoutError):
    """The deadline of the call passed. Inputs without a result are unanswered."""


class RefusedError(EmbedwireError):
    """A policy of the server rejected the call or the input; it may succeed later or on another replica."""


class UpstreamError(EmbedwireError):
    """The upstream failed, or rejected the server."""


class GatewayError(EmbedwireError):
    """The server failed, or sent an invalid response."""


class TransportError(EmbedwireError, ConnectionError):
    """gRPC, a proxy or a load balancer ended the call. The server may or may not have worked on it."""


class ClosedError(RuntimeError):
    """The client is closed. Its calls fail immediately, and it cannot be opened again."""

    def __init__(self, message: str = "the client is closed") -> None:
        super().__init__(message)


# Fallback by status code for a reason that is newer than this client and in none of its groups.
_BY_CODE: dict[str, type[EmbedwireError]] = {
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "INVALID_ARGUMENT": RequestError,
    "NOT_FOUND": RequestError,
    "CANCELLED": RequestError,
    "UNAUTHENTICATED": RequestError,
    "PERMISSION_DENIED": RequestError,
    "RESOURCE_EXHAUSTED": RequestError,
}
_GROUPS: list[type[EmbedwireError]] = [RequestError, RefusedError, UpstreamError, GatewayError]
_GROUP_SIZE = 100
_NUMBERS = dict(ErrorReason.items())


def _error_class(failure: Failure) -> type[EmbedwireError]:
    if not failure.reason:
        return TransportError
    if failure.reason == "DEADLINE_EXCEEDED":
        return DeadlineExceededError
    number = int(failure.reason) if failure.reason.isdecimal() else _NUMBERS.get(_PREFIX + failure.reason, 0)
    if 0 < number < _GROUP_SIZE * len(_GROUPS):
        return _GROUPS[number // _GROUP_SIZE]
    return _BY_CODE.get(failure.code, GatewayError)
