"""Why a call or an input failed.

    EmbedwireError                the facts of a `Failure`, and the id of the call
    ├── RequestError              the caller can mend it: the request, its files, its credentials
    │   └── DeadlineExceededError the time of the call is up; also a TimeoutError
    ├── RefusedError              a policy of the server refused; later, or elsewhere, it may work
    ├── UpstreamError             the upstream failed, or refused the server
    ├── GatewayError              the server failed, or answered what this client does not understand
    └── UnreachableError          no server answered, or it is shutting down; also a ConnectionError

The class follows the group of the reason (see `proto/embedwire/v1/error_reason.proto`); `reason` itself is the
name of the enum value without its prefix, as in the server's metrics and log.
"""

import dataclasses
from collections.abc import Mapping

from embedwire.v1.error_reason_pb2 import ErrorReason

_PREFIX = "ERROR_REASON_"


@dataclasses.dataclass(frozen=True, slots=True)
class FieldViolation:
    """One faulty field: its path in the request, for instance "inputs[2].audio.source.url", and what to do."""

    field: str
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class QuotaViolation:
    """One quota that was hit: what it counts for, for instance "modality:audio", and its limit in words."""

    subject: str
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class UpstreamReply:
    """What the upstream said of a failure, cut to 1 KB and without control characters.

    Attributes:
        http_status: status of the HTTP reply.
        code: the upstream's error code, for instance "parameter_invalid"; empty if it gave none.
        message: the upstream's message; empty if it gave none.
        docs_url: where the upstream documents the error; empty if it does not say.
        rate_limit_headers: the rate limit headers of the reply, with lower-case names.
    """

    http_status: int
    code: str = ""
    message: str = dataclasses.field(default="", repr=False)
    docs_url: str = ""
    rate_limit_headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an input, or a call, failed.

    Attributes:
        code: name of the gRPC status code, for instance "INVALID_ARGUMENT".
        reason: from the closed list of the contract, for instance "INPUT_REJECTED"; empty where gRPC itself ended
            the call and does not say why.
        message: one sentence for a developer. Not meant to be parsed.
        violations: which fields of the request are at fault; at most 20 are listed, then how many more.
        retry_delay: seconds to wait before another try; None if waiting is not known to help.
        quotas: which quotas were hit.
        upstream: what the upstream said; None if it said nothing.
        cause: why the upstream could not be reached, or which resource the server lacks, for instance
            "connection_refused"; empty for all other failures. The contract lists the values.
    """

    code: str
    reason: str
    message: str = dataclasses.field(repr=False)
    violations: tuple[FieldViolation, ...] = ()
    retry_delay: float | None = None
    quotas: tuple[QuotaViolation, ...] = ()
    upstream: UpstreamReply | None = None
    cause: str = ""

    def __str__(self) -> str:
        return f"{self.reason or self.code}: {self.message}"

    def error(self, request_id: str = "", attempts: int = 0) -> "EmbedwireError":
        """The exception that says this."""
        return _class_of(self)(self, request_id, attempts)


class EmbedwireError(Exception):
    """A call or an input failed.

    Attributes:
        failure: all the facts.
        request_id: the id of the call, under which the server's log has the details.
        attempts: how many upstream requests were made for the input; 0 if none was, or if it is not known.
    """

    def __init__(self, failure: Failure, request_id: str = "", attempts: int = 0) -> None:
        BaseException.__init__(self, failure, request_id, attempts)  # OSError would take them for an errno and a path
        self.failure = failure
        self.request_id = request_id
        self.attempts = attempts

    def __str__(self) -> str:
        return f"{self.failure} (request id {self.request_id})" if self.request_id else str(self.failure)

    def __repr__(self) -> str:
        """Without the message, which may quote the upstream and so the caller."""
        return f"{type(self).__name__}({self.code}, {self.reason or 'no reason'}, request_id={self.request_id!r})"

    @property
    def code(self) -> str:
        """Name of the gRPC status code, for instance "INVALID_ARGUMENT"."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """The reason, for instance "INPUT_REJECTED"; see `Failure`."""
        return self.failure.reason

    @property
    def message(self) -> str:
        """One sentence for a developer."""
        return self.failure.message

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """Which fields of the request are at fault."""
        return self.failure.violations

    @property
    def retry_delay(self) -> float | None:
        """Seconds to wait before another try; None if waiting is not known to help."""
        return self.failure.retry_delay

    @property
    def upstream(self) -> UpstreamReply | None:
        """What the upstream said; None if it said nothing."""
        return self.failure.upstream

    @property
    def cause(self) -> str:
        """Why the upstream could not be reached, for instance "connection_refused"; see `Failure`."""
        return self.failure.cause


class RequestError(EmbedwireError):
    """The caller can mend it: the request, its files, its credentials, its deadline."""


class DeadlineExceededError(RequestError, TimeoutError):
    """The time of the call is up. Inputs without a result are unanswered."""


class RefusedError(EmbedwireError):
    """A policy of the server refused the call or the input; later, or elsewhere, it may work."""


class UpstreamError(EmbedwireError):
    """The upstream failed, or refused the server."""


class GatewayError(EmbedwireError):
    """The server failed, or answered what this client does not understand."""


class UnreachableError(EmbedwireError, ConnectionError):
    """No server answered, or it is shutting down."""


# Where the reason is missing, or newer than this client, the status code tells the group.
_BY_CODE: dict[str, type[EmbedwireError]] = {
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "UNAVAILABLE": UnreachableError,
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


def _class_of(failure: Failure) -> type[EmbedwireError]:
    if failure.reason == "DEADLINE_EXCEEDED":
        return DeadlineExceededError
    number = int(failure.reason) if failure.reason.isdecimal() else _NUMBERS.get(_PREFIX + failure.reason, 0)
    if 0 < number < _GROUP_SIZE * len(_GROUPS):
        return _GROUPS[number // _GROUP_SIZE]
    return _BY_CODE.get(failure.code, GatewayError)
