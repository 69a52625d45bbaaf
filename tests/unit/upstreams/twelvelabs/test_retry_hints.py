"""Retry delays and rate limit headers of error responses."""

import datetime as dt
import email.utils
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from embedwire_server.core.errors import Reason
from embedwire_server.upstreams.http import retry_after
from embedwire_server.upstreams.twelvelabs import errors
from tests.unit.upstreams.twelvelabs.errors_support import refused


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        pytest.param({}, {}, None, id="no hint"),
        pytest.param({"retry-after": "7"}, {}, 7.0, id="seconds"),
        pytest.param({"Retry-After": " 7 "}, {}, 7.0, id="any case, spaces"),
        pytest.param({"retry-after": "0"}, {}, 0.0, id="zero"),
        pytest.param({"retry-after": "86399.5"}, {}, 86399.5, id="fraction"),
        pytest.param({"retry-after": "99999999999"}, {}, retry_after.MAX_DELAY, id="far beyond any deadline"),
        pytest.param({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}, None, id="date in the past"),
        pytest.param({"retry-after": "soon"}, {}, None, id="nonsense"),
        pytest.param({"retry-after": ""}, {}, None, id="empty"),
        pytest.param({"retry-after": "-5"}, {}, None, id="negative"),
        pytest.param({"retry-after": "nan"}, {}, None, id="no number"),
        pytest.param({"retry-after": "inf"}, {}, None, id="infinite"),
        pytest.param({"retry-after": "1e999"}, {}, None, id="beyond float"),
        pytest.param({"retry-after": "Mon, 01 Jan 99999 00:00:00 GMT"}, {}, None, id="date beyond the calendar"),
        pytest.param({}, {"retryAfter": "60"}, 60.0, id="details, a string"),
        pytest.param({}, {"retryAfter": 60}, 60.0, id="details, a number"),
        pytest.param({}, {"retryAfter": None}, None, id="details, null"),
        pytest.param({}, {"retryAfter": [60]}, None, id="details, a list"),
        pytest.param({"x-ratelimit-reset": "1718777276"}, {}, None, id="reset in the past"),
        pytest.param({"x-ratelimit-reset": "never"}, {}, None, id="reset, nonsense"),
        pytest.param({"retry-after": "7"}, {"retryAfter": "60"}, 7.0, id="Retry-After before details"),
        pytest.param({"retry-after": "soon"}, {"retryAfter": "60"}, 60.0, id="nonsense gives way"),
        pytest.param({"x-ratelimit-reset": "1718777276"}, {"retryAfter": "60"}, 60.0, id="details before reset"),
    ],
)
@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_retry_delay(headers: dict[str, str], details: dict[str, Any], expected: float | None, shape: str) -> None:
    """The delay is the first valid hint: Retry-After, details.retryAfter, reset headers."""
    error = {"code": "too_many_requests", "details": details}
    failure = refused(429, error if shape == "flat" else {"error": error}, headers)
    assert failure.retry_delay == expected


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
@pytest.mark.parametrize(("value", "expected"), [("0", None), ("0.0", None), ("7", 7.0), ("7, 7", 7.0), ("7s", 7.0)])
def test_no_other_refusal_is_to_be_retried_at_once(status: int, value: str, expected: float | None) -> None:
    """A hint of 0 is passed on for rate limits only, since clients would retry other failures without a delay."""
    assert refused(status, {}, {"Retry-After": value}).retry_delay == expected


@pytest.mark.parametrize(
    ("header", "write"),
    [
        ("retry-after", lambda at: email.utils.format_datetime(at, usegmt=True)),
        ("retry-after", lambda at: email.utils.format_datetime(at.astimezone())),
        ("X-Ratelimit-Reset", lambda at: str(int(at.timestamp()))),
        ("X-RateLimit-Request-Reset", lambda at: str(int(at.timestamp()))),
        ("x-ratelimit-duration-reset", lambda at: str(int(at.timestamp()))),
    ],
    ids=["HTTP date", "local date", "reset", "request reset", "duration reset"],
)
def test_retry_at(header: str, write: Callable[[dt.datetime], str]) -> None:
    """A point in time becomes the seconds until then."""
    headers = {header: write(dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))}

    assert refused(429, b"", headers).retry_delay == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(429, 7.0), (500, 7.0), (503, 7.0), (400, None), (401, None), (402, None), (413, None)],
)
def test_where_a_delay_helps(status: int, expected: float | None) -> None:
    """A hint is passed on only for failures for which waiting can help."""
    assert refused(status, b"", {"retry-after": "7"}).retry_delay == expected


@pytest.mark.parametrize("status", [408, 409, 500, 503])
def test_reset_is_used_for_rate_limits_only(status: int) -> None:
    """A reset header is used for rate limits only, since every reply has one."""
    reset = str(int(dt.datetime.now(dt.UTC).timestamp()) + 60)

    assert refused(status, b"", {"x-ratelimit-reset": reset}).retry_delay is None


def test_rate_limit_headers() -> None:
    """Rate limit headers are kept with lower-case names, and no others."""
    headers = {
        "X-Ratelimit-Limit": "600",
        "X-RateLimit-Request-Remaining": "0",
        "RateLimit": "limit=600",
        "Retry-After": "7",
        "Set-Cookie": "session=1",
        "Content-Type": "application/json",
    }
    said = refused(429, b"", headers).upstream
    assert said is not None
    assert dict(said.rate_limit_headers) == {
        "x-ratelimit-limit": "600",
        "x-ratelimit-request-remaining": "0",
        "ratelimit": "limit=600",
        "retry-after": "7",
    }


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b'{"error":{"details":{"retryAfter":1' + b"0" * 400 + b"}}}", id="number too large"),
        pytest.param({"retry-after": "Mon, 01 Jan 2024 00:00:00 +99999999999999999"}, b"", id="zone too large"),
    ],
)
def test_an_absurd_hint_is_none(headers: dict[str, str], body: bytes) -> None:
    """A hint beyond the range of numbers does not change the failure."""
    failure = errors.from_response(httpx.Response(429, headers=headers), body, None)

    assert (failure.reason, failure.retry_delay) == (Reason.UPSTREAM_RATE_LIMITED, None)
