"""The message in the body of an error response, in the formats of APIs, frameworks and proxies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.upstreams.twelvelabs import error_body

WORDS = "The text is too long."
XML = "application/xml"


def message(body: bytes, content_type: str = "application/json") -> str:
    return error_body.read(error_body.decoded(body, content_type)).message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"code": "parameter_invalid", "message": WORDS}, WORDS, id="the upstream API, v1"),
        pytest.param({"error": {"code": "VALIDATION_ERROR", "message": WORDS}}, WORDS, id="the upstream API, v2"),
        pytest.param({"error": WORDS}, WORDS, id="error, a string"),
        pytest.param({"error": {"error": {"message": WORDS}}}, WORDS, id="error, nested twice"),
        pytest.param({"error": {"message": WORDS, "type": "invalid_request_error"}}, WORDS, id="OpenAI"),
        pytest.param({"error": {"code": 400, "message": WORDS, "status": "INVALID_ARGUMENT"}}, WORDS, id="Google"),
        pytest.param({"error": "invalid_request", "error_description": WORDS}, WORDS, id="OAuth"),
        pytest.param({"error": "Bad Request", "message": WORDS, "statusCode": 400}, WORDS, id="NestJS"),
        pytest.param({"statusCode": 400, "message": [WORDS, "b"]}, f"{WORDS}; b", id="NestJS, several"),
        pytest.param(
            {"timestamp": "2026", "status": 400, "error": WORDS, "message": "", "path": "/embed"}, WORDS, id="Spring"
        ),
        pytest.param({"detail": WORDS}, WORDS, id="detail, a string"),
        pytest.param({"detail": {"message": WORDS}}, WORDS, id="detail, an object"),
        pytest.param({"detail": [{"loc": ["body", "text"], "msg": WORDS}]}, f"body.text: {WORDS}", id="FastAPI"),
        pytest.param({"type": "about:blank", "title": "No", "detail": WORDS, "status": 400}, WORDS, id="problem+json"),
        pytest.param({"type": "about:blank", "title": WORDS, "status": 400}, WORDS, id="problem+json, title only"),
        pytest.param({"title": "No", "status": 400, "errors": {"text": [WORDS]}}, f"text: {WORDS}", id="ASP.NET"),
        pytest.param({"errors": [WORDS]}, WORDS, id="errors, strings"),
        pytest.param({"errors": [{"message": WORDS}]}, WORDS, id="errors, objects"),
        pytest.param({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b", id="errors, several"),
        pytest.param({"errors": {"text": [WORDS]}}, f"text: {WORDS}", id="errors, an object of lists"),
        pytest.param({"errors": {"text": WORDS}}, f"text: {WORDS}", id="errors, an object of strings"),
        pytest.param({"text": [WORDS]}, f"text: {WORDS}", id="Django"),
        pytest.param({"message": "A", "errors": [{"field": "b", "message": "C"}]}, "A: b: C", id="message and errors"),
        pytest.param({"errors": [{"detail": WORDS, "source": {"pointer": "/a"}}]}, f"/a: {WORDS}", id="JSON:API"),
        pytest.param({"message": [WORDS]}, WORDS, id="message, a list"),
        pytest.param({"message": {"text": [WORDS]}}, f"text: {WORDS}", id="message, an object"),
        pytest.param({"message": 5}, "5", id="message, a number"),
        pytest.param({"message": None, "error": WORDS}, WORDS, id="message, null"),
        pytest.param({"message": True, "detail": WORDS}, WORDS, id="message, a boolean"),
        pytest.param({"Message": WORDS}, WORDS, id="AWS"),
        pytest.param({"__type": "ValidationException", "message": WORDS}, WORDS, id="AWS, type"),
        pytest.param({"fault": {"faultstring": WORDS, "detail": {"errorcode": "x"}}}, WORDS, id="Apigee"),
        pytest.param({"msg": WORDS}, WORDS, id="msg"),
        pytest.param({"error_message": WORDS}, WORDS, id="error_message"),
        pytest.param({"error_msg": WORDS, "error_code": 17}, WORDS, id="error_msg"),
        pytest.param({"errcode": 40003, "errmsg": WORDS}, WORDS, id="errmsg"),
        pytest.param({"success": False, "status_code": 7, "status_message": WORDS}, WORDS, id="status_message"),
        pytest.param({"userMessage": WORDS, "moreInfo": "https://a.test"}, WORDS, id="userMessage"),
        pytest.param({"err": WORDS}, WORDS, id="err"),
        pytest.param({"status": "error", "info": WORDS}, WORDS, id="info"),
        pytest.param(WORDS, WORDS, id="a string"),
        pytest.param([WORDS], WORDS, id="a list of strings"),
        pytest.param([{"message": WORDS}], WORDS, id="a list of objects"),
        pytest.param(404, "404", id="a number"),
        pytest.param({"id": "5f", "time": 3}, "", id="nothing to read"),
        pytest.param({"text_embedding": {"segments": [{"float": [0.5, 1]}]}}, "", id="numbers"),
        pytest.param({}, "", id="an empty object"),
        pytest.param(None, "", id="null"),
    ],
)
def test_formats_of_json(body: Any, expected: str) -> None:
    """The message of a JSON body is found in every known member, with its field if there is one."""
    assert message(json.dumps(body).encode()) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body><hr>nginx</body></html>",
            "413 Request Entity Too Large",
            id="nginx",
        ),
        pytest.param(
            b'<!DOCTYPE html><!--[if lt IE 7]> <html class="ie6"> <![endif]--><head><title>a.test | 502: Bad gateway'
            b"</title><style>.x{}</style></head>",
            "a.test | 502: Bad gateway",
            id="Cloudflare",
        ),
        pytest.param(b"<html><body><h1>Bad &amp; wrong</h1><p>x</p></body></html>", "Bad & wrong", id="heading"),
        pytest.param(b"<p>So it <b>is</b>.</p><script>alert(1)</script>", "So it is .", id="no title"),
        pytest.param(b"<html><title>Bad gate", "Bad gate", id="HTML, cut off"),
        pytest.param(
            b'<?xml version="1.0"?><Error><Code>EntityTooLarge</Code><Message>Too large.</Message></Error>',
            "Too large.",
            id="S3",
        ),
        pytest.param(
            b'<s:Envelope xmlns:s="x"><s:Fault><faultcode>a</faultcode><faultstring>No.</faultstring></s:Fault>',
            "No.",
            id="SOAP",
        ),
        pytest.param(b"<e><m:message xmlns:m='x'><![CDATA[a < b]]></m:message></e>", "a < b", id="CDATA"),
        pytest.param(b"The text is too long.\n", WORDS, id="plain text"),
        pytest.param(b"{'error': 'No.'}", "{'error': 'No.'}", id="nearly JSON"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\xff\xfe\xfd", "", id="binary"),
        pytest.param(b"", "", id="empty"),
        pytest.param(b" \r\n", "", id="spaces"),
    ],
)
def test_other_formats(body: bytes, expected: str) -> None:
    """HTML and XML give the text of one element, text without markup all of it, binary data nothing."""
    assert message(body, "text/html") == expected


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        pytest.param(b'{"message": "caf\xe9"}', "application/json", "caf\N{REPLACEMENT CHARACTER}", id="not UTF-8"),
        pytest.param(b'{"message": "caf\xe9"}', "application/json; charset=latin-1", "café", id="latin-1"),
        pytest.param(b'{"message": "\x80"}', 'text/plain;Charset="windows-1252"', "€", id="windows-1252"),
        pytest.param('{"message": "café"}'.encode("utf-8-sig"), "application/json", "café", id="byte order mark"),
        pytest.param('{"message": "café"}'.encode("utf-16"), "application/json", "café", id="UTF-16"),
        pytest.param('{"message": "café"}'.encode("utf-32"), "application/json", "café", id="UTF-32"),
        pytest.param('{"message": "café"}'.encode("utf-16-be"), "application/json", "café", id="UTF-16, no mark"),
        pytest.param('{"message": "café"}'.encode(), "application/json; charset=nonsense", "café", id="no charset"),
        pytest.param('{"message": "café"}'.encode(), "application/json; charset=hex", "café", id="no charset of text"),
        pytest.param(rb'{"message": "a \ud83e b"}', "application/json", "a \ud83e b", id="half of a surrogate pair"),
        pytest.param(b'{"message": "a\nb\x1b[31m"}', "application/json", "a\nb\x1b[31m", id="control characters"),
    ],
)
def test_encodings(body: bytes, content_type: str, expected: str) -> None:
    """A body is decoded by its byte order mark, its charset or as UTF-8, with replacement characters."""
    assert message(body, content_type) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"code": "parameter_invalid", "message": WORDS, "more": ["x" * 40, 1.5, True, None, {"a": "é\\"}]},
        {"error": {"message": WORDS, "details": {"text": 'a"b\\c\u20ac' * 5, "numbers": [1, 2, 3]}}},
        {"detail": [{"msg": WORDS, "input": "x" * 50}, {"msg": "b"}]},
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_body_that_is_cut_off(body: Any, ascii_only: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The message of a truncated body is found, as far as it has arrived."""
    whole = json.dumps(body, ensure_ascii=ascii_only).encode()
    end = whole.index(WORDS.encode()) + len(WORDS)
    for cut in range(end, len(whole)):
        assert message(whole[:cut]).startswith(WORDS)
    for cut in range(end - len(WORDS) + 1, end):
        found = message(whole[:cut])
        assert found
        assert WORDS.startswith(found)


def test_a_cut_within_an_escape() -> None:
    """A truncated escape sequence is omitted."""
    for end in ("\\", "\\u", "\\u0", "\\u00", "\\u00e"):
        assert message(f'{{"message": "caf\\\\{end}'.encode()) == "caf\\"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65536,
        b'{"a":' * 13000,
        b'"' * 65536,
        b"\\" * 65536,
        b'{"a":"' + b"\\" * 65530,
        b'{"a":"' + b"x" * 65530,
        b'{"a":1' + b"0" * 65530,
        b"{" + b" " * 65530,
        b"<" * 65536,
        b"<title>" * 9000,
        b"<script>" * 8000,
        b"<!--" * 16000,
        b"<a:" * 20000,
        b"&" * 65536,
        json.dumps({"errors": [{"errors": [{"a": ["x"]}] * 20}] * 200}).encode(),
    ],
    ids=lambda body: body[:8].decode(),
)
def test_hostile_bodies(body: bytes) -> None:
    """The message is bounded and takes no quadratic time, also of bodies that are made to be expensive."""
    assert len(message(body)) <= error_body.MAX_CHARS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "message", "detail", "code", "loc", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=80), st.integers(0, 200), st.text())
def test_any_body(body: bytes, cut: int, content_type: str) -> None:
    """Any body, truncated anywhere, gives a message or None."""
    found = error_body.read(error_body.decoded(body[:cut], content_type))
    assert isinstance(found.message, str)
    assert isinstance(found.code, str)
