"""Error responses of the sandbox.

Codes, statuses and the two shapes of the body are those of the upstream API notes, section 4. The two messages on text
are the upstream's, word for word; the others are written after the same pattern. A 413 is always nested, since the
official SDK cannot parse a flat one.
"""

import json
from collections.abc import Mapping
from typing import Final

DOCS_URL: Final = "https://docs.twelvelabs.io/api-reference/error-codes"

_TOO_LARGE: Final = 413
_NESTED_CODES: Final[Mapping[str, str]] = {
    "parameter_invalid": "VALIDATION_ERROR",
    "parameter_not_provided": "VALIDATION_ERROR",
    "parameter_unknown": "VALIDATION_ERROR",
    "too_many_requests": "RATE_LIMIT_EXCEEDED",
}


class RefusalError(Exception):
    """Error response to a request.

    Attributes:
        status: HTTP status.
        code: Error code of the upstream.
        message: Message for the caller.
        headers: Additional headers of the response.
        empty: Whether the response has no body, like some 429s of the upstream.
        nested: Whether the body has the nested shape, whatever the default of the operation is.
    """

    def __init__(  # noqa: PLR0913
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        empty: bool = False,
        nested: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.empty = empty
        self.nested = nested or status == _TOO_LARGE

    def body(self, *, nested: bool = False) -> bytes:
        """Return the body of the response.

        Args:
            nested: Whether the operation uses the nested shape.
        """
        if self.empty:
            return b""
        return nested_body(self.code, self.message) if nested or self.nested else error_body(self.code, self.message)


class MediaError(Exception):
    """Image or audio that cannot be embedded; an option decides whether the request fails.

    Attributes:
        message: A full sentence, without a file name or a URL.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def over_duration(seconds: float, limit: float) -> str:
    """Return the upstream's sentence for media that are too long."""
    return f"Duration ({seconds:.1f} seconds) exceeds maximum limit of {limit:g} seconds ({limit // 60:g} minutes)"


def error_body(code: str, message: str) -> bytes:
    """Return the flat error document of the v1 API."""
    return json.dumps({"code": code, "message": message, "docs_url": DOCS_URL}).encode()


def nested_body(code: str, message: str) -> bytes:
    """Return the nested error document, with the code of that shape."""
    error = {"code": _NESTED_CODES.get(code, code.upper()), "message": message, "details": {}}
    return json.dumps({"error": error}).encode()


def invalid(parameter: str, detail: str = "") -> RefusalError:
    """Return the error for an invalid parameter (`parameter_invalid`)."""
    return RefusalError(400, "parameter_invalid", f"The {parameter} parameter is invalid. {detail}".rstrip())


def missing(parameter: str) -> RefusalError:
    """Return the error for a missing parameter (`parameter_not_provided`)."""
    return RefusalError(400, "parameter_not_provided", f"The {parameter} parameter is required but was not provided.")


def unknown(parameter: str) -> RefusalError:
    """Return the error for a parameter that does not exist (`parameter_unknown`)."""
    return RefusalError(400, "parameter_unknown", f"The {parameter} parameter is unknown.")


def wrong_content_type(expected: str = "multipart/form-data with a boundary") -> RefusalError:
    """Return the error for a body of another type. The status is an inference."""
    return RefusalError(400, "content_type_invalid", f"The Content-Type header is invalid. Send {expected}.")


def wrong_key() -> RefusalError:
    """Return the error for a missing or unknown API key."""
    return RefusalError(401, "api_key_invalid", "The API key is missing, invalid or expired.")


def not_found() -> RefusalError:
    """Return the error for a path or method that the API does not have."""
    return RefusalError(404, "not_found", "There is no such path and method in this API.")


def too_large(limit: int) -> RefusalError:
    """Return the error for a body over the sandbox's limit. The v1 limit is not documented, so this is an inference."""
    return RefusalError(413, "content_too_large", f"The request body is larger than {limit} bytes.")


def malformed_json(detail: str = "The body is not a complete JSON object.") -> RefusalError:
    """Return the error for a body that is not valid JSON."""
    return RefusalError(400, "parameter_invalid", detail)


def no_resource(kind: str, *, nested: bool = False) -> RefusalError:
    """Return the error for a resource that does not exist, does not exist any more, or belongs to another key."""
    code = "not_found" if nested else "resource_not_exist"
    return RefusalError(404, code, f"There is no {kind} of this id.", nested=nested)


def malformed_form() -> RefusalError:
    """Return the error for a malformed or truncated multipart body."""
    return RefusalError(400, "content_type_invalid", "The body is not a complete multipart/form-data document.")
