"""What replies tell of the upstream's rate limits, in every spelling."""

import datetime as dt
import email.utils
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.errors import Reason
from embedwire_server.upstream import hints, refusal

MINUTE = dt.timedelta(minutes=1)
FAMILIES = ["X-Ratelimit", "X-RateLimit-Request", "X-RateLimit-Duration", "X-Rate-Limit", "RateLimit"]


def in_a_minute() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + MINUTE


def epoch(milliseconds: int = 1) -> str:
    return str(int(in_a_minute().timestamp() * milliseconds))


def rate_limited(headers: dict[str, str], body: object = None) -> float | None:
    """The delay that a 429 is understood to ask for."""
    data = b"" if body is None else json.dumps(body).encode()
    failure = refusal.refused(httpx.Response(429, headers=headers), data, None)
    assert failure.reason is Reason.UPSTREAM_RATE_LIMITED
    return failure.retry_delay


def used_up(headers: dict[str, str]) -> float:
    return hints.used_up(httpx.Headers(headers))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("1000000", 1e6),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", None),
        ("Wed Oct 21 07:28:00 2015", None),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("7 seconds", None),
        ("7, 8", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999999", None),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    """Seconds or a date; what is neither is no hint, nor is a date that has passed, since clocks differ."""
    assert rate_limited({"Retry-After": value}) == expected


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("%a, %d %b %Y %H:%M:%S GMT", id="IMF"),
        pytest.param("%A, %d-%b-%y %H:%M:%S GMT", id="RFC 850"),
        pytest.param("%a %b %d %H:%M:%S %Y", id="asctime"),
    ],
)
def test_retry_after_as_a_date(form: str) -> None:
    """A date to come, in each form that HTTP knows, is the time until then."""
    assert rate_limited({"Retry-After": in_a_minute().strftime(form)}) == pytest.approx(60, abs=3)


@pytest.mark.parametrize("value", ["60", 60, 60.0])
@pytest.mark.parametrize("code", ["too_many_requests", "RATE_LIMIT_EXCEEDED"])
def test_details(value: float | str, code: str) -> None:
    """`details.retryAfter` is a number or a text of one, in either shape of body."""
    error = {"code": code, "details": {"retryAfter": value}}

    assert rate_limited({}, error) == 60
    assert rate_limited({}, {"error": error}) == 60


@pytest.mark.parametrize("details", [None, 60, "60", [60], {}, {"retryAfter": None}, {"retryAfter": {}}])
def test_details_without_a_hint(details: Any) -> None:
    """Whatever else is there is no hint."""
    assert rate_limited({}, {"code": "too_many_requests", "details": details}) is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "reset",
    [
        pytest.param(lambda: "60", id="seconds"),
        pytest.param(epoch, id="epoch"),
        pytest.param(lambda: epoch(1000), id="epoch in milliseconds"),
    ],
)
@pytest.mark.parametrize("case", [str, str.lower, str.upper], ids=["written", "lower", "upper"])
def test_resets(family: str, reset: Any, case: Any) -> None:
    """A reset tells when the limit ends: after a 429, and in any reply after which nothing remains."""
    headers = {case(f"{family}-Reset"): reset()}
    assert rate_limited(headers) == pytest.approx(60, abs=3)
    assert used_up(headers) == 0
    assert used_up({**headers, case(f"{family}-Remaining"): "0"}) == pytest.approx(60, abs=3)
    assert used_up({**headers, case(f"{family}-Remaining"): "1"}) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"default";r=0;t=60', 60.0),
        ("default;t=60;r=0", 60.0),
        ('"minute";r=0;t=60, "day";r=100;t=5000', 60.0),
        ('"minute";r=10;t=60, "day";r=0;t=5000', 5000.0),
        ('"minute";r=0;t=60, "day";r=0;t=5000', 5000.0),
        ("limit=100, remaining=0, reset=60", 60.0),
        ("limit=100,remaining=0,reset=60", 60.0),
        ("reset=60, remaining=0", 60.0),
        ("limit=100;w=60", 0.0),
        ("remaining=0", 0.0),
        ('"default";r=3;t=60', 0.0),
        ("limit=100, remaining=3, reset=60", 0.0),
        ("nonsense", 0.0),
        ("", 0.0),
    ],
)
def test_the_drafts(value: str, expected: float) -> None:
    """The header RateLimit, as each of the IETF's drafts has it."""
    assert used_up({"RateLimit": value}) == expected
    if expected:
        assert rate_limited({"RateLimit": value}) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Try again after 30 seconds.", 30.0),
        ("Please retry in 30s", 30.0),
        ("Please retry in 1.5 sec", 1.5),
        ("You have sent 30 requests in 60 minutes.", None),
        ("The limit of 100 requests per minute is exceeded.", None),
        ("Try again after 2015-10-21T07:28:00Z.", 0.0),
        ("Try again after 2015-10-21T07:28:00.123+02:00.", 0.0),
        ("Try again after 2015-99-21T07:28:00Z.", None),
        ("", None),
    ],
)
def test_words(message: str, expected: float | None) -> None:
    """When nothing else tells, the words may."""
    assert rate_limited({}, {"code": "too_many_requests", "message": message}) == expected


@pytest.mark.parametrize(
    ("headers", "details", "message", "expected"),
    [
        pytest.param({"Retry-After": "1", "X-RateLimit-Reset": "3"}, 2, "after 4 s", 1, id="Retry-After first"),
        pytest.param({"Retry-After": "soon", "X-RateLimit-Reset": "3"}, 2, "after 4 s", 2, id="details second"),
        pytest.param({"X-RateLimit-Reset": "3"}, "soon", "after 4 s", 3, id="reset third"),
        pytest.param({"X-RateLimit-Reset": "never"}, None, "after 4 s", 4, id="words last"),
    ],
)
def test_precedence(headers: dict[str, str], details: object, message: str, expected: float) -> None:
    """The first that can be read decides."""
    body = {"code": "too_many_requests", "message": message, "details": {"retryAfter": details}}
    assert rate_limited(headers, body) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            {
                "X-RateLimit-Remaining": "5",
                "X-RateLimit-Reset": "10",
                "X-RateLimit-Request-Remaining": "0",
                "X-RateLimit-Request-Reset": "70",
            },
            70,
            id="the one that is used up",
        ),
        pytest.param(
            {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "10",
                "X-RateLimit-Duration-Remaining": "0",
                "X-RateLimit-Duration-Reset": "70",
            },
            70,
            id="the longest of two",
        ),
        pytest.param({"X-RateLimit-Reset": "10", "X-RateLimit-Request-Reset": "70"}, 10, id="the first that tells"),
        pytest.param({"X-RateLimit-Remaining": "0"}, None, id="no end"),
        pytest.param({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "-5"}, None, id="an end that is none"),
        pytest.param({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000000001"}, None, id="an end long past"),
    ],
)
def test_several_limits(headers: dict[str, str], expected: float | None) -> None:
    """Of several limits the one that stops us counts."""
    assert rate_limited(headers) == expected


ANYTHING = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.datetimes(timezones=st.just(dt.UTC)).map(email.utils.format_datetime),
    st.from_regex(r"(limit|r|t)=[0-9]{1,400}([;, ]+(r|t|remaining|reset)=[0-9]{1,400}){0,3}", fullmatch=True),
)
PAIRS = [f"{family}-{end}" for family in FAMILIES for end in ("Remaining", "Reset")]
NAMES = st.sampled_from(["Retry-After", "RateLimit", *PAIRS])


@given(st.dictionaries(NAMES, ANYTHING, max_size=6), st.text(max_size=40))
def test_anything(headers: dict[str, str], message: str) -> None:
    """Whatever a reply says, it is a finite number of seconds, or nothing."""
    delay = rate_limited(headers, {"message": message})
    assert delay is None or 0 <= delay < float("inf")
    assert 0 <= used_up(headers) < float("inf")
