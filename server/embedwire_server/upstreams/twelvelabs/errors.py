"""Maps error responses to failures with a reason.

Facts: upstream API notes, sections 4 and 14. A known code decides the reason, else the status does; the format of the
body never does. The upstream's text is truncated, and control characters and the key are removed, before any other use.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from embedwire_server.core.errors import Reason, RetrySafety, UpstreamErrorInfo, UpstreamFailure
from embedwire_server.core.results import ReplySummary
from embedwire_server.upstreams.http import rate_limit_headers, retry_after
from embedwire_server.upstreams.http.sanitize import _before_cut, sanitize_text
from embedwire_server.upstreams.twelvelabs import error_body

MAX_NAME_BYTES = 16 << 10  # URLs and file names are the caller's own, up to the limits of the contract
MAX_BODY_BYTES = 64 << 10
MAX_TRACE_ID_BYTES = 128


class Subject(enum.Enum):
    """What was requested: it decides what a missing resource means, and whether a request may be repeated."""

    EMBED_V1 = enum.auto()
    EMBED = enum.auto()
    TASK_CREATION = enum.auto()
    TASK = enum.auto()
    ASSET_CREATION = enum.auto()
    CHUNK = enum.auto()
    ASSET = enum.auto()


_CREATIONS = {Subject.TASK_CREATION, Subject.ASSET_CREATION, Subject.CHUNK}
_MISSING = {404, 410}
_MISSING_REASONS = {
    Subject.TASK: Reason.UPSTREAM_TASK_NOT_FOUND,
    Subject.ASSET: Reason.RESOURCE_NOT_FOUND,
}
_BY_CODE = {
    "parameter_invalid": Reason.INPUT_REJECTED,
    "parameter_not_provided": Reason.INPUT_REJECTED,
    "validation_error": Reason.INPUT_REJECTED,
    "parameter_unknown": Reason.UPSTREAM_INCOMPATIBLE,
    "content_type_invalid": Reason.UPSTREAM_INCOMPATIBLE,
    "api_upgrade_required": Reason.UPSTREAM_INCOMPATIBLE,
    "resource_not_exist": Reason.RESOURCE_NOT_FOUND,
    "resource_not_exists": Reason.RESOURCE_NOT_FOUND,
    "not_found": Reason.UPSTREAM_INCOMPATIBLE,  # the path of a request is missing, unless it names a resource
    "api_key_invalid": Reason.UPSTREAM_CREDENTIALS,
    "unauthorized": Reason.UPSTREAM_CREDENTIALS,
    "unauthorized_request": Reason.UPSTREAM_PERMISSION_DENIED,
    "api_allowed_for_paid_plan": Reason.UPSTREAM_PERMISSION_DENIED,
    "api_not_allowed": Reason.UPSTREAM_PERMISSION_DENIED,
    "region_not_allowed": Reason.UPSTREAM_PERMISSION_DENIED,
    "tags_not_allowed": Reason.UPSTREAM_PERMISSION_DENIED,
    "read_not_allowed": Reason.UPSTREAM_PERMISSION_DENIED,
    "usage_limit_exceeded": Reason.UPSTREAM_QUOTA_EXHAUSTED,
    "insufficient_funds": Reason.UPSTREAM_QUOTA_EXHAUSTED,
    "too_many_requests": Reason.UPSTREAM_RATE_LIMITED,
    "rate_limit_exceeded": Reason.UPSTREAM_RATE_LIMITED,
    "request_canceled_or_timed_out": Reason.UPSTREAM_TIMEOUT,
    "internal_server_error": Reason.UPSTREAM_UNAVAILABLE,
}
_BY_STATUS = {
    400: Reason.INPUT_REJECTED,
    401: Reason.UPSTREAM_CREDENTIALS,
    402: Reason.UPSTREAM_QUOTA_EXHAUSTED,
    403: Reason.UPSTREAM_PERMISSION_DENIED,
    404: Reason.UPSTREAM_INCOMPATIBLE,
    405: Reason.UPSTREAM_INCOMPATIBLE,
    408: Reason.UPSTREAM_TIMEOUT,
    409: Reason.UPSTREAM_CONFLICT,
    413: Reason.CONTENT_TOO_LARGE,
    415: Reason.INPUT_REJECTED,
    422: Reason.INPUT_REJECTED,
    429: Reason.UPSTREAM_RATE_LIMITED,
    451: Reason.UPSTREAM_PERMISSION_DENIED,
    499: Reason.UPSTREAM_TIMEOUT,
    504: Reason.UPSTREAM_TIMEOUT,
}
# Of an account or of the API: the URL of a chunk has neither, but a signature, and expires.
_NOT_OF_A_CHUNK = {Reason.UPSTREAM_CREDENTIALS, Reason.UPSTREAM_PERMISSION_DENIED, Reason.UPSTREAM_INCOMPATIBLE}
_REDIRECTS = {301, 302, 303, 307, 308}
_WORDS = {
    Reason.UPSTREAM_CREDENTIALS: "the upstream rejected the server's API key; "
    "the operator must correct TWELVELABS_API_KEY",
    Reason.CALLER_UPSTREAM_CREDENTIALS: "the upstream does not accept the key in the metadata key x-upstream-api-key",
    Reason.UPSTREAM_INCOMPATIBLE: "the upstream does not support this request; the operator must check --upstream",
    Reason.UPSTREAM_TASK_NOT_FOUND: "the upstream has no such task for this API key; it keeps a task for seven days",
}
_V1_IS_MISSING = (
    "the upstream does not have the v1 API; the operator must check --upstream, "
    "and set upstream.api_version to v2 if TwelveLabs has switched v1 off"
)
# Texts of failed tasks, in the official SDK's documentation. Only of these can the same task succeed later.
_TEMPORARY_TASK_FAILURES = {
    "the embedding service is temporarily unstable. please try again later.",
    "the embedding task failed. please try again later.",
}
_TOO_LARGE_TASK_FAILURE = re.compile(
    r"the media exceeds the maximum allowed size\b|\w[\w ]* \(.*?\) exceeds maximum limit\b",
    re.IGNORECASE,
)
_RETRYABLE = {
    Reason.UPSTREAM_RATE_LIMITED,
    Reason.UPSTREAM_UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT,
    Reason.UPSTREAM_CONFLICT,
}
_REPEATABLE = {408, 409, 429, 502, 503, 504}
_PUBLIC_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,20}"
    r"(?!(?:local|localhost|localdomain|internal|intranet|private|corp|home|lan|arpa)$)[a-z][a-z0-9-]{0,61}[a-z0-9]"
)


def from_response(  # noqa: PLR0913 - what is known of the request and of the response
    response: httpx.Response,
    body: bytes,
    key: str | None,
    *,
    is_callers_key: bool = False,
    subject: Subject = Subject.EMBED,
    has_asset: bool = False,
) -> UpstreamFailure:
    """Build the failure for an error response.

    Args:
        response: the response, for its status and headers.
        body: its body, at most `MAX_BODY_BYTES` of it, in any format.
        key: the credential that was sent, to be removed from the upstream's text.
        is_callers_key: whether it was the caller's own: if it is rejected, the error is the caller's.
        subject: what was requested.
        has_asset: whether the request referred to an asset, which may be what is missing.
    """
    text = error_body.decoded(body, response.headers.get("content-type", ""))
    error = error_body.read(_before_cut(text, key) if len(body) >= MAX_BODY_BYTES else text)
    message = _before_cut(error.message, key) if len(error.message) >= error_body.MAX_CHARS else error.message
    info = UpstreamErrorInfo(
        response.status_code,
        code=sanitize_text(error.code, key),
        message=sanitize_text(message, key),
        docs_url=sanitize_text(error.docs_url, key),
        rate_limit_headers=tuple(
            (sanitize_text(name.lower(), key), sanitize_text(value, key))
            for name, value in response.headers.items()
            if rate_limit_headers.RATE_LIMIT_HEADER.match(name)
        ),
        trace_id=sanitize_text(response.headers.get("x-trace-id", ""), key, MAX_TRACE_ID_BYTES),
    )
    reason = _reason(info, subject, has_asset=has_asset)
    if reason is Reason.UPSTREAM_CREDENTIALS and is_callers_key:
        reason = Reason.CALLER_UPSTREAM_CREDENTIALS
    return UpstreamFailure(
        reason,
        _redirect(response, key) or _words(reason, info, subject) or info.message or _status(info.http_status),
        retry_delay=_retry_delay(reason, response.headers, error.details, info.message),
        upstream=info,
        retry_safety=_retry_safety(reason, info.http_status, subject),
    )


def from_error_message(message: object, key: str | None) -> UpstreamFailure:
    """Build the failure for a response with status 200 whose `error_message` says that the input failed."""
    info = UpstreamErrorInfo(httpx.codes.OK, message=sanitize_text(error_body.words(message), key))
    words = info.message or "the upstream rejected this input without a reason"
    return UpstreamFailure(Reason.INPUT_REJECTED, words, upstream=info)


def from_task_failure(message: str, key: str | None) -> UpstreamFailure:
    """Build the failure for a task that failed, from the `error.message` of its status; empty if it has none."""
    info = UpstreamErrorInfo(httpx.codes.OK, message=sanitize_text(message, key))
    reason = Reason.INPUT_REJECTED
    if info.message.lower() in _TEMPORARY_TASK_FAILURES:
        reason = Reason.UPSTREAM_UNAVAILABLE
    elif _TOO_LARGE_TASK_FAILURE.match(info.message):
        reason = Reason.CONTENT_TOO_LARGE
    return UpstreamFailure(reason, info.message or "the upstream's task failed without a reason", upstream=info)


def sanitize_summary(summary: ReplySummary, key: str | None) -> ReplySummary:
    """Return the summary with its texts sanitized."""
    url, filename, tokens = summary.input_url, summary.input_filename, summary.input_tokens
    return ReplySummary(
        sanitize_text(summary.model_name, key),
        None if url is None else sanitize_text(url, key, MAX_NAME_BYTES),
        None if filename is None else sanitize_text(filename, key, MAX_NAME_BYTES),
        summary.truncated,
        summary.media_duration_sec,
        None if tokens is None else {sanitize_text(name, key): count for name, count in tokens.items()},
    )


def _words(reason: Reason, info: UpstreamErrorInfo, subject: Subject) -> str:
    """Return our own message for a failure that the upstream cannot explain to the reader; else nothing."""
    if reason is Reason.UPSTREAM_UNAVAILABLE and _is_rejected_chunk(info, subject):
        return f"the upstream's store rejected the URL of a chunk (HTTP status {info.http_status}); send the file again"
    if subject is Subject.EMBED_V1 and reason is Reason.UPSTREAM_INCOMPATIBLE and info.http_status in _MISSING:
        return _V1_IS_MISSING
    return _WORDS.get(reason, "")


def _status(status: int) -> str:
    is_success = httpx.codes.is_success(status)
    return f"the upstream answered with HTTP status {status}{' instead of 200' if is_success else ''}"


def _redirect(response: httpx.Response, key: str | None) -> str:
    """Return the message for a redirect. It is never followed: the key and the input would go to another server."""
    if response.status_code not in _REDIRECTS:
        return ""
    origin = _origin(response.headers.get("location", ""), key)
    to = f" to {origin}" if origin else ""
    return f"the upstream redirects{to} (HTTP status {response.status_code}); its operator must correct --upstream"


def _origin(location: str, key: str | None) -> str:
    """Return scheme, host and port of a redirect's target; empty if they could reveal a secret or internal network."""
    try:
        url = urlsplit(location)
        host, port = url.hostname or "", url.port
    except ValueError:
        return ""
    is_public = url.scheme in {"http", "https"} and "@" not in url.netloc and _PUBLIC_HOST.fullmatch(host)
    if not is_public or (key and key.lower() in host):
        return ""
    return f"{url.scheme}://{host}{f':{port}' if port else ''}"


def _retry_delay(reason: Reason, headers: Mapping[str, str], details: Mapping[str, Any], message: str) -> float | None:
    """Return the seconds to wait, or None. Reset times are in every response: they count for rate-limit errors only."""
    if reason not in _RETRYABLE:
        return None
    outright = retry_after.delay(headers, details)
    if reason is not Reason.UPSTREAM_RATE_LIMITED:
        return outright or None  # clients that obey 0 would retry immediately
    if outright is not None:
        return outright
    return rate_limit_headers.limit_ends(headers, message)


def _retry_safety(reason: Reason, status: int, subject: Subject) -> RetrySafety:
    """Return whether the request may be sent again: the closed list in docs/reliability.md."""
    if reason not in _RETRYABLE:
        return RetrySafety.UNSAFE
    if subject in _CREATIONS:  # after any other error, a second one might be created and billed
        return RetrySafety.SAFE if status == httpx.codes.TOO_MANY_REQUESTS else RetrySafety.UNSAFE
    if status in _REPEATABLE:
        return RetrySafety.SAFE
    return RetrySafety.ONCE if status == httpx.codes.INTERNAL_SERVER_ERROR else RetrySafety.UNSAFE


def _reason(info: UpstreamErrorInfo, subject: Subject, *, has_asset: bool) -> Reason:
    reason = _usual_reason(info, subject, has_asset=has_asset)
    if reason in _NOT_OF_A_CHUNK and _is_rejected_chunk(info, subject):
        return Reason.UPSTREAM_UNAVAILABLE
    return reason


def _is_rejected_chunk(info: UpstreamErrorInfo, subject: Subject) -> bool:
    return subject is Subject.CHUNK and httpx.codes.is_client_error(info.http_status)


def _usual_reason(info: UpstreamErrorInfo, subject: Subject, *, has_asset: bool) -> Reason:
    if info.http_status in _MISSING and (has_asset or subject in _MISSING_REASONS):
        return _MISSING_REASONS.get(subject, Reason.RESOURCE_NOT_FOUND)
    by_code = _BY_CODE.get(info.code.lower())
    if by_code is not None:
        return by_code
    if info.http_status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return _BY_STATUS.get(info.http_status, Reason.UPSTREAM_UNAVAILABLE)
    if httpx.codes.is_redirect(info.http_status):
        return Reason.UPSTREAM_INCOMPATIBLE
    if httpx.codes.is_client_error(info.http_status):
        return _BY_STATUS.get(info.http_status, Reason.UPSTREAM_INCOMPATIBLE)
    return Reason.UPSTREAM_MALFORMED_REPLY
