"""Checks parsed JSON of the upstream: objects and identifiers."""

from typing import Any

from embedwire_server.core.inputs import UPSTREAM_ID
from embedwire_server.upstreams.http.response_body import unusable
from embedwire_server.upstreams.http.sanitize import redacted


def identifier(value: Any, key: str | None) -> str:  # noqa: ANN401 - any JSON value
    """Return an identifier of the upstream, which is passed on to callers and logged.

    Args:
        value: member of a response.
        key: the credential that was sent; no identifier may contain it.

    Raises:
        UpstreamFailure: it is none.
    """
    if not isinstance(value, str) or not UPSTREAM_ID.fullmatch(value):
        raise unusable("it has no valid identifier")
    if redacted(value, key) != value:
        raise unusable("it has an identifier that contains the API key")
    return value


def json_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return a JSON object.

    Raises:
        UpstreamFailure: it is none.
    """
    if not isinstance(value, dict):
        raise unusable("it is not a JSON object")
    return value
