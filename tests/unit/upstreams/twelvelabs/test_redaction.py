"""Text of the upstream in failures: without the key and control characters, and bounded."""

import html
import json
import time
import urllib.parse
from collections.abc import Callable

import httpx
import pytest

from embedwire_server.core.errors import Reason
from embedwire_server.upstreams.http import sanitize
from embedwire_server.upstreams.twelvelabs import errors
from tests.unit.upstreams.twelvelabs.errors_support import KEY, refused

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
    """The key is removed from the body also where it is encoded or escaped."""
    body = format_body(write(key)).encode()
    failure = errors.from_response(httpx.Response(400), body, key)
    assert failure.upstream is not None
    seen = html.unescape(urllib.parse.unquote(f"{failure.message} {failure.upstream.message}"))
    assert key not in seen
    assert key[4:] not in seen


@pytest.mark.parametrize("at", range(0, 3 * len(KEY), 3))
def test_key_at_the_cut(at: int) -> None:
    """A body truncated within the key shows no part of it."""
    before = '{"message": "no '
    body = (before + " " * (errors.MAX_BODY_BYTES - len(before) - at) + KEY * 3)[: errors.MAX_BODY_BYTES]
    assert refused(400, body.encode()).message == "no"


@pytest.mark.parametrize("before", range(0, 200, 7))
def test_key_at_the_cut_of_a_message(before: int) -> None:
    """A message truncated within the last of many keys shows no part of it, although redaction shortens it."""
    key = "k" * 199 + "9"
    said = errors.from_response(
        httpx.Response(400), json.dumps({"message": "x" * before + key * 30 + "y" * 9000}).encode(), key
    ).upstream
    assert said is not None
    assert "kk" not in said.message


@pytest.mark.parametrize("key", ["details", "code", "message", "retryAfter", "error"])
def test_a_key_that_is_a_name_of_the_format(key: str) -> None:
    """A key that is also a member name of the body hides neither the code nor the hint."""
    body = json.dumps({"error": {"code": "too_many_requests", "details": {"retryAfter": 2}}}).encode()
    failure = errors.from_response(httpx.Response(429), body, key)
    assert (failure.reason, failure.retry_delay) == (Reason.UPSTREAM_RATE_LIMITED, 2.0)


@pytest.mark.parametrize("field", ["code", "message", "docs_url"])
def test_key_is_taken_out(field: str) -> None:
    """The server's key is removed from every part of a failure."""
    failure = refused(400, {field: f"key {KEY} and {KEY}"}, {"x-ratelimit-limit": f"for {KEY}"})
    assert failure.upstream is not None
    assert getattr(failure.upstream, field) == "key [key] and [key]"
    assert failure.upstream.rate_limit_headers == (("x-ratelimit-limit", "for [key]"),)
    assert KEY not in f"{failure} {failure!r} {failure.upstream!r}"


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
    """Text of the upstream has no control characters and at most 1 KB, cut at a character boundary."""
    assert sanitize.sanitize_text(text, KEY) == expected


@pytest.mark.parametrize("key", ["tlk_x", "a" * 40], ids=["short", "one letter"])
@pytest.mark.parametrize(
    "body",
    [b'{"a":"' + b"\\" * 65_000, b"\\" * 65_000, b"\\u" * 32_000, b"a\\\\\\" * 16_000, b"%61" * 21_000],
    ids=["open string", "backslashes", "half of escapes", "escaped letters", "percent"],
)
def test_the_key_is_looked_for_in_linear_time(body: bytes, key: str) -> None:
    """The search for the key takes linear time, since quadratic time would block all calls."""

    def seconds(size: int) -> float:
        took = []
        for _ in range(3):
            began = time.process_time()
            errors.from_response(httpx.Response(400), body[:size], key)
            took.append(time.process_time() - began)
        return min(took)

    assert seconds(64_000) < 40 * max(seconds(6400), 0.001)
