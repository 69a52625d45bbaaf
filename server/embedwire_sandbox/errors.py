"""Refusals: what the sandbox answers in place of an embedding.

Codes, statuses and the shape of the body are those of the upstream API notes, section 4. The two messages on text
are the upstream's own, word for word; the others are ours in the same pattern.
"""

import json
from collections.abc import Mapping
from typing import Final

DOCS_URL: Final = "https://docs.twelvelabs.io/api-reference/error-codes"


class RefusalError(Exception):
    """The request as a whole is refused.

    Attributes:
        status: The HTTP status.
        code: The upstream's error code.
        message: The sentence for the caller.
        headers: Additional headers of the reply.
        empty: Whether the reply has no body, as some 429s of the upstream.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, empty: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.empty = empty

    @property
    def body(self) -> bytes:
        """The body as it goes out."""
        return b"" if self.empty else error_body(self.code, self.message)


class MediaError(Exception):
    """One picture or sound cannot be embedded; whether that refuses the request is a knob.

    Attributes:
        message: A full sentence, without a file name or a URL.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def error_body(code: str, message: str) -> bytes:
    """Return the flat error document of the v1 API."""
    return json.dumps({"code": code, "message": message, "docs_url": DOCS_URL}).encode()


def invalid(parameter: str, detail: str = "") -> RefusalError:
    """Refuse the value of a parameter (`parameter_invalid`)."""
    return RefusalError(400, "parameter_invalid", f"The {parameter} parameter is invalid. {detail}".rstrip())


def missing(parameter: str) -> RefusalError:
    """Refuse for the want of a parameter (`parameter_not_provided`)."""
    return RefusalError(400, "parameter_not_provided", f"The {parameter} parameter is required but was not provided.")


def unknown(parameter: str) -> RefusalError:
    """Refuse a parameter that does not exist (`parameter_unknown`)."""
    return RefusalError(400, "parameter_unknown", f"The {parameter} parameter is unknown.")


def wrong_content_type() -> RefusalError:
    """Refuse anything but multipart/form-data with a boundary. The status is an inference."""
    return RefusalError(
        400, "content_type_invalid", "The Content-Type header is invalid. Send multipart/form-data with a boundary."
    )


def wrong_key() -> RefusalError:
    """Refuse a missing or unknown API key."""
    return RefusalError(401, "api_key_invalid", "The API key is missing, invalid or expired.")


def not_found() -> RefusalError:
    """Refuse a path or method that the API does not have."""
    return RefusalError(404, "not_found", "There is no such path and method in this API.")


def too_large(limit: int) -> RefusalError:
    """Refuse a body over the sandbox's own cap. The v1 limit is not documented, so this is an inference."""
    return RefusalError(413, "content_too_large", f"The request body is larger than {limit} bytes.")


def malformed_form() -> RefusalError:
    """Refuse a multipart body that breaks off or is not one."""
    return RefusalError(400, "content_type_invalid", "The body is not a complete multipart/form-data document.")
