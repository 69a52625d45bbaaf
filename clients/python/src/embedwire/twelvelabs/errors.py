"""The exceptions, in the shapes of twelvelabs 1.x, and what the server's failures become.

    ApiError                      status_code, headers, body
    ├── BadRequestError           status 400
    ├── ApiTimeoutError           the deadline passed; also a TimeoutError
    └── ApiConnectionError        no server answered; also a ConnectionError

The `EmbedwireError` behind each, with the reason and the request id, is its `__cause__`.
"""

import re
from typing import Any

from embedwire.errors import DeadlineExceededError, EmbedwireError, Failure, UnreachableError

BAD_REQUEST = 400
# Where the upstream documents its codes; it comes with its refusals.
DOCS_URL = "https://docs.twelvelabs.io/api-reference/error-codes"
_OK = 200

# Where the upstream was not asked there is no HTTP status; these say the same.
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

# Paths of the contract, in the words of `create`. One input of each modality at most is sent.
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
    """The call failed, or everything that it asked for.

    Attributes:
        status_code: the upstream's HTTP status, or one that means the same if it was not asked.
        headers: the upstream's rate limit headers, and `x-request-id`, by which the server's log has the details.
        body: a dict with the upstream's `code`, `message` and `docs_url`, or with the server's own.
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
        """So that it can be copied, and sent from one process to another."""
        return _rebuilt, (type(self), vars(self))

    def __str__(self) -> str:
        return f"headers: {self.headers}, status_code: {self.status_code}, body: {self.body}"


class BadRequestError(ApiError):
    """Something in the request has to be mended: status 400."""

    def __init__(self, body: Any, headers: dict[str, str] | None = None) -> None:  # noqa: ANN401 - as in the SDK
        super().__init__(headers=headers, status_code=BAD_REQUEST, body=body)


class ApiTimeoutError(ApiError, TimeoutError):
    """The deadline passed. The SDK raises `httpx.ReadTimeout` then."""


class ApiConnectionError(ApiError, ConnectionError):
    """No server answered. The SDK raises `httpx.ConnectError` then."""


def _rebuilt(kind: type[ApiError], state: dict[str, Any]) -> ApiError:
    error = kind.__new__(kind)
    vars(error).update(state)
    return error


def api_error(error: EmbedwireError) -> ApiError:
    """What to raise for this failure."""
    said = error.upstream
    headers = {**(said.rate_limit_headers if said else {}), "x-request-id": error.request_id}
    body, status = _body(error.failure), _status_code(error.failure)
    if isinstance(error, DeadlineExceededError):
        return ApiTimeoutError(headers=headers, status_code=status, body=body)
    if isinstance(error, UnreachableError):
        return ApiConnectionError(headers=headers, status_code=status, body=body)
    is_foreign = said is not None and not (said.code or said.message or said.docs_url)
    if status == BAD_REQUEST and not is_foreign:
        return BadRequestError(body, headers)
    return ApiError(headers=headers, status_code=status, body=body)


def message(failure: Failure) -> str:
    """One sentence for `error_message`: the upstream's words, else the server's."""
    return (failure.upstream and failure.upstream.message) or str(_body(failure)["message"])


def _status_code(failure: Failure) -> int:
    if failure.upstream is not None and failure.upstream.http_status != _OK:
        return failure.upstream.http_status
    return _STATUS_CODES.get(failure.code, _INTERNAL)


def _body(failure: Failure) -> dict[str, str]:
    said = failure.upstream
    if said is not None and (said.code or said.docs_url):
        body = {"code": said.code, "message": said.message, "docs_url": said.docs_url}
        return {name: value for name, value in body.items() if value}
    if failure.reason != "INVALID_REQUEST" or not failure.violations:
        return {"code": failure.reason.lower() or failure.code.lower(), "message": failure.message}
    # In the pattern of the upstream's own refusals, so that code which reads those can read these.
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
