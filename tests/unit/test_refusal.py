"""What the upstream says when it says no, and what callers are told of it."""

import datetime as dt
import email.utils
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.errors import Reason, UpstreamFailure, UpstreamSaid
from embedwire_server.upstream import hints, refusal

KEY = "tlk_0123456789"


def refused(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> UpstreamFailure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal.refused(httpx.Response(status, headers=headers), data, KEY)


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
    """A code that is known decides, in either shape of body and either case; else the status does."""
    error = {"code": code, "message": "So it is."}
    failure = refused(status, error if shape == "flat" else {"error": error})
    assert failure.reason is reason
    assert failure.upstream == UpstreamSaid(status, code=code, message="So it is.")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (201, Reason.UPSTREAM_MALFORMED_REPLY),
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
        (418, Reason.UPSTREAM_INCOMPATIBLE),
        (422, Reason.INPUT_REJECTED),
        (429, Reason.UPSTREAM_RATE_LIMITED),
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
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html><h1>No</h1></html>", id="HTML"),
        pytest.param(b'{"code":', id="cut JSON"),
        pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
        pytest.param(b'"no"', id="JSON string"),
        pytest.param(b"[1]", id="JSON array"),
        pytest.param(b"null", id="JSON null"),
        pytest.param(b'{"error":"no"}', id="error is a string"),
        pytest.param(b'{"error":{"code":5,"message":["no"],"docs_url":{}}}', id="members of other types"),
        pytest.param(b"[" * 60_000, id="deep JSON"),
    ],
)
def test_statuses(status: int, reason: Reason, body: bytes) -> None:
    """Without a code the status decides, and the message is never empty.

    Only the API itself can refuse an input: a page of somebody else on the way has not seen it.
    """
    failure = refused(status, body)
    is_foreign = bool(body) and not body.startswith(b'{"error"')
    expected = Reason.UPSTREAM_INCOMPATIBLE if is_foreign and reason is Reason.INPUT_REJECTED else reason
    assert failure.reason is expected
    assert failure.message
    assert failure.upstream == UpstreamSaid(status)


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
    """The upstream's message is the failure's, else the status is named."""
    assert refused(status, body).message == message


@pytest.mark.parametrize(
    ("status", "word"), [(401, "TWELVELABS_API_KEY"), (404, "--upstream")], ids=["credentials", "incompatible"]
)
def test_message_to_the_operator(status: int, word: str) -> None:
    """Where the operator must act, the message says what to set; the upstream's words are kept beside it."""
    failure = refused(status, {"message": "No."})
    assert word in failure.message
    assert failure.upstream is not None
    assert failure.upstream.message == "No."


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        pytest.param({}, {}, None, id="no hint"),
        pytest.param({"retry-after": "7"}, {}, 7.0, id="seconds"),
        pytest.param({"Retry-After": " 7 "}, {}, 7.0, id="any case, spaces"),
        pytest.param({"retry-after": "0"}, {}, 0.0, id="zero"),
        pytest.param({"retry-after": "86399.5"}, {}, 86399.5, id="fraction"),
        pytest.param({"retry-after": "99999999999"}, {}, hints.MAX_DELAY, id="far beyond any deadline"),
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
    """The first hint that can be understood is the delay: Retry-After, details.retryAfter, reset headers."""
    error = {"code": "too_many_requests", "details": details}
    failure = refused(429, error if shape == "flat" else {"error": error}, headers)
    assert failure.retry_delay == expected


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
@pytest.mark.parametrize(("value", "expected"), [("0", None), ("0.0", None), ("7", 7.0), ("7, 7", 7.0), ("7s", 7.0)])
def test_no_other_refusal_is_to_be_retried_at_once(status: int, value: str, expected: float | None) -> None:
    """A hint of 0 is not passed on for what is no rate limit: nothing would hold back the clients that obey it."""
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
    """A hint is passed on only where waiting can help."""
    assert refused(status, b"", {"retry-after": "7"}).retry_delay == expected


@pytest.mark.parametrize("status", [408, 409, 500, 503])
def test_a_reset_says_nothing_of_other_failures(status: int) -> None:
    """When a window of the rate limit ends matters only to what hit the limit; every reply tells it."""
    reset = str(int(dt.datetime.now(dt.UTC).timestamp()) + 60)

    assert refused(status, b"", {"x-ratelimit-reset": reset}).retry_delay is None


def test_rate_limit_headers() -> None:
    """The rate limit headers are kept under lower-case names, and no other header is."""
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


@pytest.mark.parametrize("field", ["code", "message", "docs_url"])
def test_key_is_taken_out(field: str) -> None:
    """The server's key is in nothing that is passed on, wherever the upstream repeats it."""
    failure = refused(400, {field: f"key {KEY} and {KEY}"}, {"x-ratelimit-limit": f"for {KEY}"})
    assert failure.upstream is not None
    assert getattr(failure.upstream, field) == "key [key] and [key]"
    assert failure.upstream.rate_limit_headers == (("x-ratelimit-limit", "for [key]"),)
    assert KEY not in f"{failure} {failure!r} {failure.upstream!r}"


def test_rejected() -> None:
    """An `error_message` within a good reply is cleaned like any other word of the upstream."""
    failure = refusal.rejected(f"bad\naudio {KEY}", KEY)
    assert failure.reason is Reason.INPUT_REJECTED
    assert failure.message == "bad audio [key]"
    assert failure.upstream == UpstreamSaid(200, message="bad audio [key]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("  a\r\n\tb\x00c\x7f\x85d  ", "a b c d", id="control characters"),
        pytest.param("a\ud800b", "a b", id="lone surrogate"),
        pytest.param("ä€🦊", "ä€🦊", id="not ASCII"),
        pytest.param("x" * 1024, "x" * 1024, id="at the limit"),
        pytest.param("x" * 1025, "x" * 1021 + "…", id="above the limit"),
        pytest.param("€" * 400, "€" * 340 + "…", id="cut between characters of three bytes"),
        pytest.param("a" + "🦊" * 400, "a" + "🦊" * 255 + "…", id="cut within a character of four bytes"),
        pytest.param("x" * 1020 + KEY, "x" * 1020 + "[" + "…", id="the key is taken out before the cut"),
        pytest.param(None, "", id="null"),
        pytest.param(5, "", id="number"),
    ],
)
def test_clean(text: object, expected: str) -> None:
    """Upstream text has no control characters and at most 1 KB, and ends where a character does."""
    assert refusal.clean(text, KEY) == expected


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
    """Whatever the upstream answers, it becomes a failure that is safe to pass on."""
    failure = refused(status, body, {"retry-after": retry_after, "x-ratelimit-reset": reset})
    assert failure.reason in Reason
    assert failure.message
    assert failure.retry_delay is None or 0 <= failure.retry_delay < float("inf")
    said = failure.upstream
    assert said is not None
    for text in (said.code, said.message, said.docs_url, *dict(said.rate_limit_headers).values()):
        assert len(text.encode()) <= refusal.MAX_TEXT_BYTES
        assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in text)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b'{"error":{"details":{"retryAfter":1' + b"0" * 400 + b"}}}", id="number too large"),
        pytest.param({"retry-after": "Mon, 01 Jan 2024 00:00:00 +99999999999999999"}, b"", id="zone too large"),
    ],
)
def test_an_absurd_hint_is_none(headers: dict[str, str], body: bytes) -> None:
    """A hint that no number can hold leaves the refusal what it is."""
    failure = refusal.refused(httpx.Response(429, headers=headers), body, None)

    assert (failure.reason, failure.retry_delay) == (Reason.UPSTREAM_RATE_LIMITED, None)


@pytest.mark.parametrize("message", ["", "\x00", "   "])
def test_a_rejection_without_words_has_some(message: str) -> None:
    """An error_message with nothing to read becomes a sentence of ours."""
    assert refusal.rejected(message, None).message == "the upstream refused this input and did not say why"
