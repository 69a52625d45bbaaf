"""Rate limits in replies: headers, bodies and messages in every format."""

import datetime as dt
import email.utils
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.core.errors import Reason
from embedwire_server.upstreams.http import rate_limit_headers, retry_after
from embedwire_server.upstreams.twelvelabs import errors

MINUTE = dt.timedelta(minutes=1)
FAMILIES = ["X-Ratelimit", "X-RateLimit-Request", "X-RateLimit-Duration", "X-Rate-Limit", "RateLimit"]


def in_a_minute() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + MINUTE


def epoch(milliseconds: int = 1) -> str:
    return str(int(in_a_minute().timestamp() * milliseconds))


def rate_limited(headers: dict[str, str], body: object = None) -> float | None:
    """Return the delay that a 429 asks for."""
    data = b"" if body is None else json.dumps(body).encode()
    failure = errors.from_response(httpx.Response(429, headers=headers), data, None)
    assert failure.reason is Reason.UPSTREAM_RATE_LIMITED
    return failure.retry_delay


def used_up(headers: dict[str, str]) -> float:
    return rate_limit_headers.used_up(rate_limit_headers.limits_of(httpx.Headers(headers)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("0.0", 0.0),
        ("1.5", 1.5),
        ('"7"', 7.0),
        ("\t7 ", 7.0),
        ("007", 7.0),
        ("7, 7", 7.0),
        ("7,8", 8.0),
        ("soon, 7", None),
        ("60s", 60.0),
        ("1m", 60.0),
        ("1m30s", 90.0),
        ("1m 30s", 90.0),
        ("1h", 3600.0),
        ("100ms", 0.1),
        ("500000us", 0.5),
        ("1d", 86400.0),
        ("2d", 86400.0),
        ("PT1M", 60.0),
        ("pt90s", 90.0),
        ("60 seconds", 60.0),
        ("1 minute", 60.0),
        ("1 minute 30 seconds", 90.0),
        ("60 apples", None),
        ("-60s", None),
        ("86400", 86400.0),
        ("86401", 86400.0),
        ("1000000", 86400.0),
        ("1000000000", 86400.0),
        ("99999999999", 86400.0),
        ("9" * 30, 86400.0),
        ("9" * 300, None),
        ("0x3c", None),
        ("1e2", None),
        ("1e99", None),
        ("6_0", None),
        ("+60", None),
        ("\u0666\u0660", None),
        ("60\u00a0s", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", None),
        ("Wed Oct 21 07:28:00 2015", None),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("7 seconds", 7.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999999", None),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    """Retry-After is seconds, a duration or a date, up to a day; other values and past times are ignored."""
    headers = {"Retry-After": value} if value.isascii() else {}
    assert retry_after.delay({"retry-after": value}, {}) == expected
    assert rate_limited(headers) == (expected if headers else None)
    assert rate_limited({}, {"details": {"retryAfter": value}, "code": "too_many_requests"}) == expected


WRITTEN: dict[str, Callable[[dt.datetime], str]] = {
    "IMF": lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    "RFC 850": lambda at: at.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
    "asctime": lambda at: at.strftime("%a %b %d %H:%M:%S %Y"),
    "wrong weekday": lambda at: (at + dt.timedelta(days=1)).strftime("%a, ") + at.strftime("%d %b %Y %H:%M:%S GMT"),
    "no zone": lambda at: at.strftime("%a, %d %b %Y %H:%M:%S"),
    "numeric zone": lambda at: (at + dt.timedelta(hours=2)).strftime("%a, %d %b %Y %H:%M:%S +0200"),
    "named zone": lambda at: (at - dt.timedelta(hours=5)).strftime("%a, %d %b %Y %H:%M:%S EST"),
    "twice": lambda at: ", ".join([at.strftime("%a, %d %b %Y %H:%M:%S GMT")] * 2),
    "ISO 8601": lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "ISO 8601, zone": lambda at: at.astimezone(dt.timezone(dt.timedelta(hours=-7))).isoformat(),
    "ISO 8601, space": lambda at: at.strftime("%Y-%m-%d %H:%M:%S"),
    "ISO 8601, small letters": lambda at: at.strftime("%Y-%m-%dt%H:%M:%Sz"),
    "ISO 8601, basic": lambda at: at.strftime("%Y%m%dT%H%M%SZ"),
    "Unix time, s": lambda at: f"{at.timestamp():.0f}",
    "Unix time, ms": lambda at: f"{at.timestamp() * 1e3:.0f}",
    "Unix time, us": lambda at: f"{at.timestamp() * 1e6:.0f}",
    "Unix time, ns": lambda at: f"{at.timestamp() * 1e9:.0f}",
    "Unix time, fraction": lambda at: str(at.timestamp()),
    "Unix time, quoted": lambda at: f'"{at.timestamp():.0f}"',
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("off", [None, 3600, -3600, 10 * 365 * 86400, -10 * 365 * 86400])
@pytest.mark.parametrize("name", ["Retry-After", *(f"{family}-Reset" for family in FAMILIES)])
def test_a_time(name: str, off: int | None, written: str) -> None:
    """A future time in any format is relative to the sender's Date header, not to the local clock."""
    sent = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=off or 0)
    headers = {"Date": email.utils.format_datetime(sent, usegmt=True)} if off is not None else {}
    headers[name] = WRITTEN[written](sent + MINUTE)

    assert rate_limited(headers) == pytest.approx(60, abs=3)
    if name != "Retry-After":
        assert used_up({**headers, name.replace("Reset", "Remaining"): "0, 0"}) == pytest.approx(60, abs=3)


@pytest.mark.parametrize(
    "date",
    [
        "",
        "soon",
        "0",
        "-1",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sun, 99 Nov 2026 1:1:1 GMT",
    ],
)
@pytest.mark.parametrize("written", ["IMF", "ISO 8601", "Unix time, s", "Unix time, ns"])
def test_a_date_that_is_wrong(date: str, written: str) -> None:
    """With an invalid `Date`, or one far from the given time, the local clock is used."""
    assert rate_limited({"Date": date, "Retry-After": WRITTEN[written](in_a_minute())}) == pytest.approx(60, abs=3)


@pytest.mark.parametrize("away", [dt.timedelta(days=-1000), dt.timedelta(hours=-1), dt.timedelta(days=3)])
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset", "RateLimit-Reset"])
def test_implausible_time(name: str, written: str, away: dt.timedelta) -> None:
    """A time in the past or days ahead is ignored, in any format."""
    assert rate_limited({name: WRITTEN[written](in_a_minute() + away)}) is None


def test_unknown_time_zone() -> None:
    """A date in an unknown time zone is ignored."""
    assert rate_limited({"Retry-After": in_a_minute().strftime("%a, %d %b %Y %H:%M:%S CET")}) is None


@pytest.mark.parametrize("value", ["60", 60, 60.0])
@pytest.mark.parametrize("code", ["too_many_requests", "RATE_LIMIT_EXCEEDED"])
def test_details(value: float | str, code: str) -> None:
    """`details.retryAfter` is a number or a numeric string, in either format of the body."""
    error = {"code": code, "details": {"retryAfter": value}}

    assert rate_limited({}, error) == 60
    assert rate_limited({}, {"error": error}) == 60


@pytest.mark.parametrize(
    "details", [None, 60, "60", [60], {}, {"retryAfter": None}, {"retryAfter": {}}, {"retryAfter": True}]
)
def test_details_without_a_hint(details: Any) -> None:
    """Other values in the details are ignored."""
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
    """A reset header is used after a 429, and in any reply with no requests remaining."""
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
        ("limit=100, remaining=0, reset=1m", 60.0),
        ('limit="100", remaining="0", reset="60"', 60.0),
        ("limit=100, remaining=0, reset=60000ms", 60.0),
        ("limit=100, remaining=0, reset=999999", 86400.0),
        (f"limit=100, remaining=0, reset={'9' * 40}", 0.0),
        ("limit=100, remaining=0, reset=6_0", 0.0),
        ("nonsense", 0.0),
        ("", 0.0),
    ],
)
def test_the_drafts(value: str, expected: float) -> None:
    """The RateLimit header is parsed in the format of each IETF draft."""
    assert used_up({"RateLimit": value}) == expected
    if expected:
        assert rate_limited({"RateLimit": value}) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Try again after 30 seconds.", 30.0),
        ("Please retry in 30s", 30.0),
        ("Please retry in 1.5 sec", 1.5),
        ("Please retry in 999999 seconds", 86400.0),
        ("Please retry in \u0666\u0660 seconds", None),
        ("You have sent 30 requests in 60 minutes.", None),
        ("The limit of 100 requests per minute is exceeded.", None),
        ("Try again after 2015-10-21T07:28:00Z.", None),
        ("Try again after 2015-10-21T07:28:00.123+02:00.", None),
        ("Try again after 2015-99-21T07:28:00Z.", None),
        ("", None),
    ],
)
def test_hint_in_the_message(message: str, expected: float | None) -> None:
    """The delay is read from the text of the message if nothing else has it."""
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
    """The first hint that can be parsed is used."""
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
    """Of several limits the exhausted one is used."""
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
    """Arbitrary replies give a delay of at most a day, or none."""
    delay = rate_limited(headers, {"message": message})
    assert delay is None or 0 <= delay <= retry_after.MAX_DELAY
    assert 0 <= used_up(headers) <= retry_after.MAX_DELAY


def test_many_limits() -> None:
    """Of very many limits in one header, the first are kept."""
    header = ",".join(f'"policy-{number}";r={number};t=60' for number in range(1000))
    found = rate_limit_headers.limits_of({"ratelimit": header})
    assert [limit.remaining for limit in found] == list(range(rate_limit_headers.MAX_LIMITS))
