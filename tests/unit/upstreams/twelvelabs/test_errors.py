"""Failures from error responses: their reasons and messages."""

import datetime as dt
import email.utils
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.core.errors import Reason, UpstreamErrorInfo
from embedwire_server.upstreams.http import sanitize
from embedwire_server.upstreams.twelvelabs import errors
from tests.unit.upstreams.twelvelabs.errors_support import KEY, refused


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("parameter_invalid", 400, Reason.INPUT_REJECTED),
        ("parameter_not_provided", 400, Reason.INPUT_REJECTED),
        ("VALIDATION_ERROR", 400, Reason.INPUT_REJECTED),
        ("parameter_unknown", 400, Reason.UPSTREAM_INCOMPATIBLE),
        ("content_type_invalid", 400, Reason.UPSTREAM_INCOMPATIBLE),
        ("api_upgrade_required", 400, Reason.UPSTREAM_INCOMPATIBLE),
        ("resource_not_exist", 404, Reason.RESOURCE_NOT_FOUND),
        ("resource_not_exists", 400, Reason.RESOURCE_NOT_FOUND),
        ("not_found", 404, Reason.UPSTREAM_INCOMPATIBLE),
        ("api_key_invalid", 401, Reason.UPSTREAM_CREDENTIALS),
        ("unauthorized", 401, Reason.UPSTREAM_CREDENTIALS),
        ("unauthorized_request", 401, Reason.UPSTREAM_PERMISSION_DENIED),
        ("api_allowed_for_paid_plan", 403, Reason.UPSTREAM_PERMISSION_DENIED),
        ("api_not_allowed", 403, Reason.UPSTREAM_PERMISSION_DENIED),
        ("region_not_allowed", 403, Reason.UPSTREAM_PERMISSION_DENIED),
        ("tags_not_allowed", 403, Reason.UPSTREAM_PERMISSION_DENIED),
        ("read_not_allowed", 403, Reason.UPSTREAM_PERMISSION_DENIED),
        ("usage_limit_exceeded", 400, Reason.UPSTREAM_QUOTA_EXHAUSTED),
        ("insufficient_funds", 402, Reason.UPSTREAM_QUOTA_EXHAUSTED),
        ("too_many_requests", 429, Reason.UPSTREAM_RATE_LIMITED),
        ("RATE_LIMIT_EXCEEDED", 429, Reason.UPSTREAM_RATE_LIMITED),
        ("request_canceled_or_timed_out", 408, Reason.UPSTREAM_TIMEOUT),
        ("request_canceled_or_timed_out", 499, Reason.UPSTREAM_TIMEOUT),
        ("INTERNAL_SERVER_ERROR", 500, Reason.UPSTREAM_UNAVAILABLE),
        ("video_resolution_too_low", 400, Reason.INPUT_REJECTED),
        ("video_duration_too_long", 400, Reason.INPUT_REJECTED),
        ("video_file_broken", 400, Reason.INPUT_REJECTED),
        ("video_filesize_too_large", 400, Reason.INPUT_REJECTED),
        ("RATE_LIMIT_EXCEEDED", 400, Reason.UPSTREAM_RATE_LIMITED),
        ("Insufficient_Funds", 400, Reason.UPSTREAM_QUOTA_EXHAUSTED),
        ("a_code_of_tomorrow", 400, Reason.INPUT_REJECTED),
        ("a_code_of_tomorrow", 503, Reason.UPSTREAM_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_codes(code: str, status: int, reason: Reason, shape: str) -> None:
    """A known code decides on the reason, in either format of the body and either case; else the status does."""
    error = {"code": code, "message": "So it is."}
    failure = refused(status, error if shape == "flat" else {"error": error})
    assert failure.reason is reason
    assert failure.upstream == UpstreamErrorInfo(status, code=code, message="So it is.")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (201, Reason.UPSTREAM_MALFORMED_REPLY),
        (202, Reason.UPSTREAM_MALFORMED_REPLY),
        (206, Reason.UPSTREAM_MALFORMED_REPLY),
        (204, Reason.UPSTREAM_MALFORMED_REPLY),
        (301, Reason.UPSTREAM_INCOMPATIBLE),
        (307, Reason.UPSTREAM_INCOMPATIBLE),
        (400, Reason.INPUT_REJECTED),
        (401, Reason.UPSTREAM_CREDENTIALS),
        (402, Reason.UPSTREAM_QUOTA_EXHAUSTED),
        (403, Reason.UPSTREAM_PERMISSION_DENIED),
        (404, Reason.UPSTREAM_INCOMPATIBLE),
        (405, Reason.UPSTREAM_INCOMPATIBLE),
        (408, Reason.UPSTREAM_TIMEOUT),
        (409, Reason.UPSTREAM_CONFLICT),
        (413, Reason.CONTENT_TOO_LARGE),
        (415, Reason.INPUT_REJECTED),
        (410, Reason.UPSTREAM_INCOMPATIBLE),
        (411, Reason.UPSTREAM_INCOMPATIBLE),
        (414, Reason.UPSTREAM_INCOMPATIBLE),
        (418, Reason.UPSTREAM_INCOMPATIBLE),
        (422, Reason.INPUT_REJECTED),
        (429, Reason.UPSTREAM_RATE_LIMITED),
        (431, Reason.UPSTREAM_INCOMPATIBLE),
        (451, Reason.UPSTREAM_PERMISSION_DENIED),
        (499, Reason.UPSTREAM_TIMEOUT),
        (500, Reason.UPSTREAM_UNAVAILABLE),
        (502, Reason.UPSTREAM_UNAVAILABLE),
        (503, Reason.UPSTREAM_UNAVAILABLE),
        (504, Reason.UPSTREAM_TIMEOUT),
        (524, Reason.UPSTREAM_UNAVAILABLE),
        (599, Reason.UPSTREAM_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        pytest.param(b"", "", "", id="empty"),
        pytest.param(b"<html><h1>No</h1></html>", "", "No", id="HTML"),
        pytest.param(b'{"code":', "", "", id="cut JSON"),
        pytest.param(b"\xff\xfe\x00", "", "", id="no UTF-8"),
        pytest.param(b'"no"', "", "no", id="JSON string"),
        pytest.param(b"[1]", "", "", id="JSON array"),
        pytest.param(b"null", "", "", id="JSON null"),
        pytest.param(b'{"error":"no"}', "", "no", id="error is a string"),
        pytest.param(b'{"error":{"code":5,"message":["no"],"docs_url":{}}}', "5", "no", id="members of other types"),
        pytest.param(b"[" * 60_000, "", "", id="deep JSON"),
    ],
)
def test_statuses(status: int, reason: Reason, body: bytes, code: str, message: str) -> None:
    """Without a known code the status decides, in any format of the body, and the message is not empty."""
    failure = refused(status, body)
    assert failure.reason is reason
    assert failure.message
    assert failure.upstream == UpstreamErrorInfo(status, code=code, message=message)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "origin"),
    [
        pytest.param("https://api.example.com:8443/v1.3/embed?key=1#x", " to https://api.example.com:8443", id="URL"),
        pytest.param("HTTPS://API.Example.com", " to https://api.example.com", id="upper case"),
        pytest.param("/v1.4/embed", "", id="path"),
        pytest.param("", "", id="empty"),
        pytest.param("https://user:pw@api.example.com/", "", id="user info"),
        pytest.param("http://10.0.0.7/", "", id="address"),
        pytest.param("http://[::1]:80/", "", id="IPv6 address"),
        pytest.param("http://proxy:3128/", "", id="one label"),
        pytest.param("http://login.corp.internal/", "", id="internal name"),
        pytest.param(f"https://{KEY}.example.com/", "", id="the key"),
        pytest.param("https://api.example.com:port/", "", id="no port"),
        pytest.param("javascript:alert(1)", "", id="no HTTP"),
    ],
)
def test_a_redirect_is_named(status: int, location: str, origin: str) -> None:
    """A redirect is reported to the operator, with the origin of its target if that is public."""
    failure = refused(status, b"<title>Moved</title>", {"location": location})
    assert failure.reason is Reason.UPSTREAM_INCOMPATIBLE
    assert failure.message == (
        f"the upstream redirects{origin} (HTTP status {status}); its operator must correct --upstream"
    )


@pytest.mark.parametrize("status", [300, 304])
def test_not_every_3xx_is_a_redirect(status: int) -> None:
    """A 3xx status without a target is not reported as a redirect."""
    failure = refused(status)
    assert (failure.reason, "redirects" in failure.message) == (Reason.UPSTREAM_INCOMPATIBLE, False)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        pytest.param(400, {"message": "The text is too long."}, "The text is too long.", id="the upstream's words"),
        pytest.param(400, b"", "the upstream answered with HTTP status 400", id="no words"),
        pytest.param(400, {"message": "\x00"}, "the upstream answered with HTTP status 400", id="no words left"),
        pytest.param(503, b"<html>", "the upstream answered with HTTP status 503", id="HTML"),
    ],
)
def test_message(status: int, body: Any, message: str) -> None:
    """The failure has the upstream's message, or else the status."""
    assert refused(status, body).message == message


@pytest.mark.parametrize(
    ("status", "word"), [(401, "TWELVELABS_API_KEY"), (404, "--upstream")], ids=["credentials", "incompatible"]
)
def test_message_to_the_operator(status: int, word: str) -> None:
    """A failure that the operator must fix names the setting and keeps the upstream's message."""
    failure = refused(status, {"message": "No."})
    assert word in failure.message
    assert failure.upstream is not None
    assert failure.upstream.message == "No."


def test_rejected() -> None:
    """An `error_message` in a successful reply is cleaned like other text of the upstream."""
    failure = errors.from_error_message(f"bad\naudio {KEY}", KEY)
    assert failure.reason is Reason.INPUT_REJECTED
    assert failure.message == "bad audio [key]"
    assert failure.upstream == UpstreamErrorInfo(200, message="bad audio [key]")


MEMBERS = st.sampled_from(["error", "code", "message", "docs_url", "details", "retryAfter"])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=8,
)

HINTS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.datetimes(timezones=st.just(dt.UTC)).map(email.utils.format_datetime),
    st.floats().map(str),
)


@given(st.integers(200, 599), JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50), HINTS, HINTS)
def test_anything(status: int, body: bytes, retry_after: str, reset: str) -> None:
    """Any response of the upstream becomes a failure that is safe to pass on."""
    failure = refused(status, body, {"retry-after": retry_after, "x-ratelimit-reset": reset})
    assert failure.reason in Reason
    assert failure.message
    assert failure.retry_delay is None or 0 <= failure.retry_delay < float("inf")
    said = failure.upstream
    assert said is not None
    for text in (said.code, said.message, said.docs_url, *dict(said.rate_limit_headers).values()):
        assert len(text.encode()) <= sanitize.MAX_TEXT_BYTES
        assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in text)


@pytest.mark.parametrize("message", ["", "\x00", "   "])
def test_rejection_with_an_empty_message(message: str) -> None:
    """An empty error_message is replaced by a default message."""
    assert errors.from_error_message(message, None).message == "the upstream rejected this input without a reason"
