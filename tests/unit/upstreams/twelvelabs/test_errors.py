"""What the upstream says when it says no, and what callers are told of it."""

import datetime as dt
import email.utils
import html
import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.core.errors import Reason, UpstreamErrorInfo, UpstreamFailure
from embedwire_server.upstreams.http import rate_limit_headers, sanitize
from embedwire_server.upstreams.twelvelabs import errors

KEY = "tlk_0123456789"


def refused(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> UpstreamFailure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return errors.from_response(httpx.Response(status, headers=headers), data, KEY)


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
    """Without a known code the status decides, whatever the format of the body, and the message is never empty."""
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
    """A redirect is reported as such to the operator, with the target's origin if that is public."""
    failure = refused(status, b"<title>Moved</title>", {"location": location})
    assert failure.reason is Reason.UPSTREAM_INCOMPATIBLE
    assert failure.message == (
        f"the upstream redirects{origin} (HTTP status {status}); its operator must correct --upstream"
    )


@pytest.mark.parametrize("status", [300, 304])
def test_not_every_3xx_is_a_redirect(status: int) -> None:
    """A status that names no other place is not called a redirect."""
    failure = refused(status)
    assert (failure.reason, "redirects" in failure.message) == (Reason.UPSTREAM_INCOMPATIBLE, False)


ODD_KEY = 'tlk/0+1=a&b%c"d'


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(str, id="plain"),
        pytest.param(lambda key: urllib.parse.quote(key, safe=""), id="percent-encoded"),
        pytest.param(lambda key: "".join(f"%{ord(char):02x}" for char in key), id="percent-encoded, all of it"),
        pytest.param(lambda key: "".join(f"\\u{ord(char):04X}" for char in key), id="JSON escapes"),
        pytest.param(lambda key: json.dumps(key).strip('"').replace("/", "\\/"), id="JSON, escaped slash"),
        pytest.param(html.escape, id="HTML"),
        pytest.param(lambda key: "".join(f"&#x{ord(char):X};" for char in key), id="HTML, all of it"),
        pytest.param(lambda key: "".join(f"&#{ord(char)};" for char in key), id="HTML, decimal"),
    ],
)
@pytest.mark.parametrize(
    "format_body",
    [
        pytest.param(lambda text: json.dumps({"message": f"no {text} no"}), id="JSON"),
        pytest.param(lambda text: f'{{"message": "no {text} no"}}', id="JSON as it is"),
        pytest.param(lambda text: f"<html><title>no {text} no</title>", id="HTML"),
        pytest.param(lambda text: f"no {text} no", id="text"),
        pytest.param(lambda text: f'{{"error": "{"x" * 40}", "message": "no {text}', id="cut JSON"),
    ],
)
def test_key_in_any_spelling(key: str, write: Callable[[str], str], format_body: Callable[[str], str]) -> None:
    """The key is taken out of the body also where it is encoded or escaped."""
    body = format_body(write(key)).encode()
    failure = errors.from_response(httpx.Response(400), body, key)
    assert failure.upstream is not None
    seen = html.unescape(urllib.parse.unquote(f"{failure.message} {failure.upstream.message}"))
    assert key not in seen
    assert key[4:] not in seen


@pytest.mark.parametrize("at", range(0, 3 * len(KEY), 3))
def test_key_at_the_cut(at: int) -> None:
    """Where the body is cut off within the key, no part of the key remains."""
    before = '{"message": "no '
    body = (before + " " * (errors.MAX_BODY_BYTES - len(before) - at) + KEY * 3)[: errors.MAX_BODY_BYTES]
    assert refused(400, body.encode()).message == "no"


@pytest.mark.parametrize("before", range(0, 200, 7))
def test_key_at_the_cut_of_a_message(before: int) -> None:
    """A message that is cut within the last of many keys shows no part of it, though those before it become short."""
    key = "k" * 199 + "9"
    said = errors.from_response(
        httpx.Response(400), json.dumps({"message": "x" * before + key * 30 + "y" * 9000}).encode(), key
    ).upstream
    assert said is not None
    assert "kk" not in said.message


@pytest.mark.parametrize("key", ["details", "code", "message", "retryAfter", "error"])
def test_a_key_that_is_a_name_of_the_format(key: str) -> None:
    """A key that occurs as a name in the body hides neither the code nor the hint."""
    body = json.dumps({"error": {"code": "too_many_requests", "details": {"retryAfter": 2}}}).encode()
    failure = errors.from_response(httpx.Response(429), body, key)
    assert (failure.reason, failure.retry_delay) == (Reason.UPSTREAM_RATE_LIMITED, 2.0)


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
        pytest.param({"retry-after": "99999999999"}, {}, rate_limit_headers.MAX_DELAY, id="far beyond any deadline"),
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
    failure = errors.from_error_message(f"bad\naudio {KEY}", KEY)
    assert failure.reason is Reason.INPUT_REJECTED
    assert failure.message == "bad audio [key]"
    assert failure.upstream == UpstreamErrorInfo(200, message="bad audio [key]")


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
    assert sanitize.sanitize_text(text, KEY) == expected


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
        assert len(text.encode()) <= sanitize.MAX_TEXT_BYTES
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
    failure = errors.from_response(httpx.Response(429, headers=headers), body, None)

    assert (failure.reason, failure.retry_delay) == (Reason.UPSTREAM_RATE_LIMITED, None)


@pytest.mark.parametrize("message", ["", "\x00", "   "])
def test_a_rejection_without_words_has_some(message: str) -> None:
    """An error_message with nothing to read becomes a sentence of ours."""
    assert errors.from_error_message(message, None).message == "the upstream refused this input and did not say why"


@pytest.mark.parametrize("key", ["tlk_x", "a" * 40], ids=["short", "one letter"])
@pytest.mark.parametrize(
    "body",
    [b'{"a":"' + b"\\" * 65_000, b"\\" * 65_000, b"\\u" * 32_000, b"a\\\\\\" * 16_000, b"%61" * 21_000],
    ids=["open string", "backslashes", "half of escapes", "escaped letters", "percent"],
)
def test_the_key_is_looked_for_in_linear_time(body: bytes, key: str) -> None:
    """A body ten times as long takes about ten times as long: quadratic time would stop all calls for a minute."""

    def seconds(size: int) -> float:
        took = []
        for _ in range(3):
            began = time.process_time()
            errors.from_response(httpx.Response(400), body[:size], key)
            took.append(time.process_time() - began)
        return min(took)

    assert seconds(64_000) < 40 * max(seconds(6400), 0.001)
