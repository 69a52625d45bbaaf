"""Helpers of the tests of error responses."""

import json
from typing import Any

import httpx

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.upstreams.twelvelabs import errors

KEY = "tlk_0123456789"


def refused(
    status: int,
    body: Any = b"",
    headers: dict[str, str] | None = None,
    subject: errors.Subject = errors.Subject.EMBED,
) -> UpstreamFailure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return errors.from_response(httpx.Response(status, headers=headers), data, KEY, subject=subject)
