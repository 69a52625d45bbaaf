"""Checks parsed JSON of the upstream: objects and identifiers."""

from typing import Any

from embedwire_server.core.inputs import UPSTREAM_ID
from embedwire_server.upstreams.http.response_body import unusable


def identifier(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return an identifier of the upstream.

    Raises:
        UpstreamFailure: it is none.
    """
    if not isinstance(value, str) or not UPSTREAM_ID.fullmatch(value):
        raise unusable("it has no valid identifier")
    return value


def json_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return a JSON object.

    Raises:
        UpstreamFailure: it is none.
    """
    if not isinstance(value, dict):
        raise unusable("it is not a JSON object")
    return value
