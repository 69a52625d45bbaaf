"""Exceptions for every way in which a call or an input can fail.

    GatewayError                  reason, message; violations, retry_delay, quotas, upstream where they apply
    ├── InvalidRequest            the request breaks rules of the contract; all of them are listed
    ├── MalformedMessage          bytes that are no protobuf message
    ├── InvalidUploadFraming      chunks that do not follow the framing
    ├── UploadMismatch            a file of another size or hash than declared
    ├── ContentTooLarge           a file above a limit
    ├── UnsuitableFile            a file that is too long or too large for its model or processing mode
    ├── ReplyTooLarge             a response that does not fit into one message
    ├── Unauthenticated           no token, or an unknown one
    ├── PermissionDenied          the caller is authenticated, and not allowed to do this
    ├── IdentifierDenied          the same, for an asset or a task of the server's account
    ├── DeadlineExceeded          the call's deadline has passed
    ├── CallerStalled             the caller did not read what was ready
    ├── UploadStalled             too little of an upload arrived
    ├── CallStalled               no message arrived
    ├── Overloaded                the server has no capacity for it
    ├── RateLimited               it does not fit into the rate limits before its deadline
    ├── Draining                  the server shuts down
    ├── UpstreamFailure           the upstream, or the connection to it, failed; see the reason
    ├── ResourceFailure           the server itself lacks a resource; see the cause
    └── InternalError             an unexpected exception

Messages are sent to callers: they contain no secret, no path and no text of an exception.
`reason` mirrors the enum `ErrorReason` of the contract, name by name.
"""

import dataclasses
import enum
from typing import Literal, Self

from embedwire_server.core.failure_causes import WORDS, Cause


class Reason(enum.StrEnum):
    """Reason of a failure: the names of `embedwire.v1.ErrorReason` without their prefix."""

    INVALID_REQUEST = "INVALID_REQUEST"
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    INVALID_UPLOAD_FRAMING = "INVALID_UPLOAD_FRAMING"
    UPLOAD_MISMATCH = "UPLOAD_MISMATCH"
    CONTENT_TOO_LARGE = "CONTENT_TOO_LARGE"
    INPUT_REJECTED = "INPUT_REJECTED"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    REPLY_TOO_LARGE = "REPLY_TOO_LARGE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    CALLER_UPSTREAM_CREDENTIALS = "CALLER_UPSTREAM_CREDENTIALS"
    CALLER_STALLED = "CALLER_STALLED"
    UPSTREAM_TASK_NOT_FOUND = "UPSTREAM_TASK_NOT_FOUND"
    OVERLOADED = "OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    DRAINING = "DRAINING"
    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    UPSTREAM_QUOTA_EXHAUSTED = "UPSTREAM_QUOTA_EXHAUSTED"
    UPSTREAM_CREDENTIALS = "UPSTREAM_CREDENTIALS"
    UPSTREAM_PERMISSION_DENIED = "UPSTREAM_PERMISSION_DENIED"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    UPSTREAM_CONFLICT = "UPSTREAM_CONFLICT"
    UPSTREAM_MALFORMED_REPLY = "UPSTREAM_MALFORMED_REPLY"
    UPSTREAM_INCOMPATIBLE = "UPSTREAM_INCOMPATIBLE"
    INTERNAL = "INTERNAL"


_OF_THE_INPUT = {Reason.CONTENT_TOO_LARGE, Reason.INPUT_REJECTED, Reason.RESOURCE_NOT_FOUND}


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """Invalid field: its path from the message of the call, and how to correct it."""

    field: str
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class QuotaViolation:
    """Quota that was exceeded: its subject, and its limit in words."""

    subject: str
    description: str


@dataclasses.dataclass(frozen=True, slots=True)
class UpstreamErrorInfo:
    """Details of a failure from the upstream, truncated and sanitized (see `upstreams.twelvelabs.errors`)."""

    http_status: int
    code: str = ""
    message: str = dataclasses.field(default="", repr=False)  # may quote the caller's text
    docs_url: str = ""
    rate_limit_headers: tuple[tuple[str, str], ...] = ()
    trace_id: str = ""


class GatewayError(Exception):
    """A failure that is reported to the caller.

    Args:
        message: one sentence for the developer of the client.
        violations: the invalid fields.
        retry_delay: seconds after which a retry makes sense, if known.
        quotas: the quotas that were exceeded.
        upstream: details from the upstream.

    Attributes:
        attempts: number of upstream requests made before.
        cause: why the upstream could not be reached, or which resource is missing.
        task_id: identifier of the upstream's task of the input; empty without one.
    """

    reason: Reason
    task_id: str = ""
    attempts: int = 0
    cause: Cause | None = None

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        retry_delay: float | None = None,
        quotas: tuple[QuotaViolation, ...] = (),
        upstream: UpstreamErrorInfo | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations
        self.retry_delay = retry_delay
        self.quotas = quotas
        self.upstream = upstream

    def locate(self, path: str) -> None:
        """Add the path of the failed input of a batch: to the message, and as a violation if the input is invalid."""
        if self.reason in _OF_THE_INPUT and not self.violations:
            self.violations = (Violation(path, self.message),)
        if not self.message.startswith(path):
            self.message = f"{path}: {self.message}"

    def __copy__(self) -> Self:
        """Return the failure for another caller, without its traceback, cause and context."""
        copied = type(self).__new__(type(self), *self.args)
        copied.__dict__.update(self.__dict__)
        return copied

    def __repr__(self) -> str:
        """Return the type and reason, without the message, which may quote the upstream and so the caller."""
        return f"{type(self).__name__}({self.reason})"


class InvalidRequest(GatewayError):
    """The request breaks rules of the contract; `violations` lists every one."""

    reason = Reason.INVALID_REQUEST

    def __init__(self, *violations: Violation) -> None:
        first = f"{violations[0].field}: {violations[0].description}"
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(first + more, violations=violations)


class _FieldError(GatewayError):
    """Error about a single field."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", violations=(Violation(field, description),))


class InvalidUploadFraming(_FieldError):
    """Message of an upload that the framing does not allow."""

    reason = Reason.INVALID_UPLOAD_FRAMING


class UploadMismatch(_FieldError):
    """Uploaded file that differs from its declaration."""

    reason = Reason.UPLOAD_MISMATCH


class ContentTooLarge(_FieldError):
    """File larger than allowed."""

    reason = Reason.CONTENT_TOO_LARGE


class UnsuitableFile(GatewayError):
    """File whose duration or size the model does not accept in the requested way; `locate` adds its path."""

    reason = Reason.CONTENT_TOO_LARGE


class MalformedMessage(GatewayError):
    """Bytes that are no message of the expected type."""

    reason = Reason.MALFORMED_MESSAGE

    def __init__(self) -> None:
        super().__init__("the message cannot be decoded; check that client and server use the same .proto files")


class ReplyTooLarge(GatewayError):
    """The response does not fit into one message."""

    reason = Reason.REPLY_TOO_LARGE


class Unauthenticated(GatewayError):
    """Call without a token, or with an unknown one."""

    reason = Reason.UNAUTHENTICATED


class PermissionDenied(GatewayError):
    """The caller is authenticated, and not allowed to do this.

    Args:
        caller: name of the caller.
        field: field of the request that is not allowed.
        allowed: the allowed values, in words.
    """

    reason = Reason.PERMISSION_DENIED

    def __init__(self, caller: str, field: str, allowed: str) -> None:
        text = f"the token of {caller} does not permit this; it permits: {allowed or 'nothing'}"
        super().__init__(f"{field}: {text}", violations=(Violation(field, text),))


class IdentifierDenied(_FieldError):
    """The caller may not use an asset or a task of the server's account by its identifier.

    Args:
        caller: name of the caller.
        field: field of the request.
        kind: what the field identifies.
    """

    reason = Reason.PERMISSION_DENIED

    def __init__(self, caller: str, field: str, kind: Literal["asset", "task"]) -> None:
        text = f"the token of {caller} does not permit identifiers of the server's account"
        if kind == "task":
            text += ", except of tasks that this server process has created for it"
        super().__init__(field, f"{text}; the operator can set upstream_ids = true for the token")


class DeadlineExceeded(GatewayError):
    """The call's deadline has passed."""

    reason = Reason.DEADLINE_EXCEEDED

    def __init__(self) -> None:
        super().__init__("the deadline passed before all inputs were embedded")


class CallerStalled(GatewayError):
    """The caller has not read the stream for too long."""

    reason = Reason.CALLER_STALLED

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no message was taken for {seconds:g} s; read the stream continuously")


class UploadStalled(_FieldError):
    """Too little of an upload arrived within its timeout."""

    reason = Reason.CALLER_STALLED

    def __init__(self, field: str, least: int, seconds: float) -> None:
        text = f"fewer than {least} bytes arrived in {seconds:g} s (uploads.idle_timeout); send the file without pauses"
        super().__init__(field, text)


class CallStalled(GatewayError):
    """The caller has begun a call or a stream, and sends no message."""

    reason = Reason.CALLER_STALLED

    def __init__(self, which: str, seconds: float) -> None:
        super().__init__(f"no {which} arrived in {seconds:g} s; send it without a pause, or end the call")


class Overloaded(GatewayError):
    """The server has no capacity for the call now; nothing was sent to the upstream."""

    reason = Reason.OVERLOADED


class RateLimited(GatewayError):
    """The call cannot be sent within both the rate limits in force and its deadline; `quotas` names the limit."""

    reason = Reason.RATE_LIMITED


class Draining(GatewayError):
    """The server is shutting down and could not finish the call within its grace period."""

    reason = Reason.DRAINING

    def __init__(self) -> None:
        super().__init__("the server is shutting down; retry: another replica will accept the call", retry_delay=0.0)


class RetrySafety(enum.Enum):
    """Whether a failed request may be sent again.

    FRESH: once, immediately and on a new connection. A reused connection was stale, which is no sign of an overloaded
    upstream, so the retry budget does not count it.
    """

    UNSAFE = "unsafe"
    ONCE = "once"
    FRESH = "fresh"
    SAFE = "safe"


class UpstreamFailure(GatewayError):
    """Failure of the upstream, or of the connection to it.

    Args:
        reason: reason of the failure.
        message: see `GatewayError`.
        retry_delay: seconds that the upstream asks to wait.
        upstream: details from the upstream.
        retry_safety: whether the same request may be sent again.
        cause: why the upstream could not be reached, in that case.
    """

    def __init__(  # noqa: PLR0913 - the facts that only the innermost layer has
        self,
        reason: Reason,
        message: str,
        *,
        retry_delay: float | None = None,
        upstream: UpstreamErrorInfo | None = None,
        retry_safety: RetrySafety = RetrySafety.UNSAFE,
        cause: Cause | None = None,
    ) -> None:
        super().__init__(message, retry_delay=retry_delay, upstream=upstream)
        self.reason = reason
        self.retry_safety = retry_safety
        self.cause = cause


class ResourceFailure(GatewayError):
    """The server itself lacks a resource: file descriptors, local ports, memory, disk.

    Disk space is freed when other uploads end, so a retry makes sense; only the operator can fix the others.

    Args:
        cause: the missing resource.
    """

    def __init__(self, cause: Cause) -> None:
        super().__init__(WORDS[cause])
        self.reason = Reason.OVERLOADED if cause is Cause.DISK_FULL else Reason.INTERNAL
        self.cause = cause


class InternalError(GatewayError):
    """Unexpected exception. Its text is in the log, never in the message."""

    reason = Reason.INTERNAL

    def __init__(self) -> None:
        super().__init__("internal error; the server's log has the details under this call's x-request-id")
