"""Exceptions with the attributes of twelvelabs 1.x, and the conversion of the server's failures to them.

    ApiError                      status_code, headers, body
    ├── BadRequestError           status 400
    ├── ApiTimeoutError           the deadline passed; also a TimeoutError
    └── ApiConnectionError        gRPC or an intermediary ended the call; also a ConnectionError

`__cause__` is the `EmbedwireError`, with the reason and the request id.
"""

import re
from typing import Any

from embedwire.errors import DeadlineExceededError, EmbedwireError, Failure, TransportError

BAD_REQUEST = 400
# The upstream's documentation of its error codes; the `docs_url` of its errors.
DOCS_URL = "https://docs.twelvelabs.io/api-reference/error-codes"
_OK = 200

# Equivalent HTTP status for failures without a response of the upstream.
_STATUS_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_INTERNAL = 500

# Field paths of the contract to parameters of `create`. There is at most one input of each modality.
_PARAMETERS = [
    (re.compile(r"model_name$"), "model_name"),
    (re.compile(r"x-upstream-api-key$"), "api_key"),
    (re.compile(r"\.text\.truncate$"), "text_truncate"),
    (re.compile(r"\.text\b"), "text"),
    (re.compile(r"\.start_offset_sec$"), "audio_start_offset_sec"),
    (re.compile(r"\.(?:image|audio)\..*\.media_type$"), "media type"),
    (re.compile(r"\.(?:image|audio)\..*\.file_name$"), "file name"),
    (re.compile(r"\.image\.source\.url$"), "image_url"),
    (re.compile(r"\.image\b"), "image_file"),
    (re.compile(r"\.audio\.source\.url$"), "audio_url"),
    (re.compile(r"\.audio\b"), "audio_file"),
    (re.compile(r"inputs$"), "text, image_url, image_file, audio_url or audio_file"),
]
_ABSENT = ("must hold at least one input", "is required")


class ApiError(Exception):
    """Failure of the call, or of all its inputs.

    Attributes:
        status_code: HTTP status of the upstream, or an equivalent one if there was no response of the upstream.
        headers: rate limit headers of the upstream, and `x-request-id`, the id of the call in the server's log.
        body: dict with the `code`, `message` and `docs_url` of the upstream, or with `code` and `message` of the
            server.
    """

    def __init__(
        self,
        *,
        headers: dict[str, str] | None = None,
        status_code: int | None = None,
        body: Any = None,  # noqa: ANN401 - as in the SDK
    ) -> None:
        super().__init__()
        self.headers = headers
        self.status_code = status_code
        self.body = body

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickle and copy: the default calls the constructor without arguments."""
        return _unpickle, (type(self), vars(self))

    def __str__(self) -> str:
        return f"headers: {self.headers}, status_code: {self.status_code}, body: {self.body}"


class BadRequestError(ApiError):
    """The request is invalid: status 400."""

    def __init__(self, body: Any, headers: dict[str, str] | None = None) -> None:  # noqa: ANN401 - as in the SDK
        super().__init__(headers=headers, status_code=BAD_REQUEST, body=body)


class ApiTimeoutError(ApiError, TimeoutError):
    """The deadline passed. The SDK raises `httpx.ReadTimeout` then."""


class ApiConnectionError(ApiError, ConnectionError):
    """gRPC, a proxy or a load balancer ended the call. The SDK raises `httpx.ConnectError` then."""


def _unpickle(kind: type[ApiError], state: dict[str, Any]) -> ApiError:
    error = kind.__new__(kind)
    vars(error).update(state)
    return error


def api_error(error: EmbedwireError) -> ApiError:
    """Convert an exception of the client to one of the SDK."""
    upstream = error.upstream
    headers = {**(upstream.rate_limit_headers if upstream else {}), "x-request-id": error.request_id}
    body, status = _body(error.failure), _status_code(error.failure)
    if isinstance(error, DeadlineExceededError):
        return ApiTimeoutError(headers=headers, status_code=status, body=body)
    if isinstance(error, TransportError):
        return ApiConnectionError(headers=headers, status_code=status, body=body)
    is_unstructured = upstream is not None and not (upstream.code or upstream.message or upstream.docs_url)
    if status == BAD_REQUEST and not is_unstructured:
        return BadRequestError(body, headers)
    return ApiError(headers=headers, status_code=status, body=body)


def error_message(failure: Failure) -> str:
    """Return the `error_message`: the message of the upstream, else of the server."""
    return (failure.upstream and failure.upstream.message) or str(_body(failure)["message"])


def _status_code(failure: Failure) -> int:
    if failure.upstream is not None and failure.upstream.http_status != _OK:
        return failure.upstream.http_status
    return _STATUS_CODES.get(failure.code, _INTERNAL)


def _body(failure: Failure) -> dict[str, str]:
    upstream = failure.upstream
    if upstream is not None and (upstream.code or upstream.docs_url):
        body = {"code": upstream.code, "message": upstream.message, "docs_url": upstream.docs_url}
        return {name: value for name, value in body.items() if value}
    if failure.reason != "INVALID_REQUEST" or not failure.violations:
        return {"code": failure.reason.lower() or failure.code.lower(), "message": failure.message}
    # Same format as the upstream's error bodies, for code that parses them.
    first = failure.violations[0]
    is_absent = first.description.startswith(_ABSENT)
    sentences = [_sentence(_parameter(item.field), item.description) for item in failure.violations]
    return {
        "code": "parameter_not_provided" if is_absent else "parameter_invalid",
        "message": " ".join(sentences),
    }


def _parameter(field: str) -> str:
    return next((name for pattern, name in _PARAMETERS if pattern.search(field)), field)


def _sentence(parameter: str, description: str) -> str:
    if description.startswith(_ABSENT):
        return f"The {parameter} parameter is required but was not provided."
    return f"The {parameter} parameter is invalid. {description[:1].upper()}{description[1:]}."
