"""The table of reasons, and the error details of a failed call."""

import base64
import re
import urllib.parse
from collections.abc import Set as AbstractSet
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    Overloaded,
    QuotaViolation,
    Reason,
    UpstreamErrorInfo,
    UpstreamFailure,
    Violation,
)
from embedwire_server.rpc import status

PROTO = Path(__file__).parents[3] / "proto/embedwire/v1/error_reason.proto"
PREFIX = "ERROR_REASON_"
NUMBERS = {name.removeprefix(PREFIX): number for name, number in error_reason_pb2.ErrorReason.items()}
# The party at fault, by the first number of its group.
GROUPS: dict[int, AbstractSet[str]] = {
    1: {
        "INVALID_REQUEST",
        "MALFORMED_MESSAGE",
        "INVALID_UPLOAD_FRAMING",
        "UPLOAD_MISMATCH",
        "CONTENT_TOO_LARGE",
        "INPUT_REJECTED",
        "RESOURCE_NOT_FOUND",
        "REPLY_TOO_LARGE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "CALLER_UPSTREAM_CREDENTIALS",
        "CALLER_STALLED",
    },
    100: {"OVERLOADED", "RATE_LIMITED", "DRAINING"},
    200: {reason for reason in Reason if reason.startswith("UPSTREAM_")},
    300: {"INTERNAL"},
}


def documented() -> dict[str, str]:
    """Return the code that the comment of each value names."""
    found: dict[str, str] = {}
    code = ""
    for line in PROTO.read_text().splitlines():
        if match := re.fullmatch(r"  // Code: ([A-Z_]+)\.", line):
            code = match[1]
        elif match := re.fullmatch(rf"  {PREFIX}([A-Z_]+) = \d+;", line):
            found[match[1]], code = code, ""
    return found


def decoded(error: GatewayError) -> tuple[status_pb2.Status, dict[str, object]]:
    """Return the status of a failed call, and its details by type."""
    message = status_pb2.Status.FromString(status.details(error))
    details = {}
    for detail in message.details:
        name = detail.TypeName().removeprefix("google.rpc.")
        details[name] = getattr(error_details_pb2, name)()
        assert detail.Unpack(details[name])
    return message, details


def test_same_names() -> None:
    """The server has all reasons of the contract, except for the unspecified one."""
    assert {reason.value for reason in Reason} == set(NUMBERS) - {"UNSPECIFIED"}
    assert all(reason.name == reason.value for reason in Reason)
    assert NUMBERS["UNSPECIFIED"] == 0


def test_every_reason_has_a_code() -> None:
    """Every reason has a code other than OK and UNKNOWN."""
    assert set(status.CODES) == set(Reason)
    assert not {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN} & set(status.CODES.values())


def test_documented_codes() -> None:
    """The comments of the contract name the same codes as the table."""
    assert documented() == {reason.value: code.name for reason, code in status.CODES.items()} | {"UNSPECIFIED": ""}


@pytest.mark.parametrize("first", GROUPS)
def test_number_ranges(first: int) -> None:
    """The range of a reason's number identifies the party at fault."""
    last = 99 if first == 1 else first + 99
    assert {name for name, number in NUMBERS.items() if first <= number <= last} == GROUPS[first]


@pytest.mark.parametrize("reason", list(Reason))
def test_error_info(reason: Reason) -> None:
    """Every failure has an ErrorInfo with its reason, and the code of its status."""
    error = UpstreamFailure(reason, "so it is")
    message, details = decoded(error)
    assert message.code == status.CODES[reason].value[0]
    assert message.message == "so it is"
    assert details == {"ErrorInfo": error_details_pb2.ErrorInfo(reason=reason, domain="embedwire")}
    assert status.code(error) is status.CODES[reason]


def test_all_details() -> None:
    """Violations, delay, quotas and the upstream's message are in the details of google.rpc."""
    error = GatewayError(
        "so it is",
        violations=(Violation("inputs[0].key", "too long"),),
        retry_delay=1.5,
        quotas=(QuotaViolation("modality:audio", "25 a minute"),),
        upstream=UpstreamErrorInfo(429, "too_many_requests", "Slow down.", "https://example.com/errors"),
    )
    error.reason = Reason.RATE_LIMITED
    _, details = decoded(error)
    info = error_details_pb2.ErrorInfo(
        reason="RATE_LIMITED",
        domain="embedwire",
        metadata={
            "http_status": "429",
            "upstream_code": "too_many_requests",
            "upstream_message": "Slow down.",
            "docs_url": "https://example.com/errors",
        },
    )
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds, retry.retry_delay.nanos = 1, 500_000_000
    quotas = error_details_pb2.QuotaFailure()
    quotas.violations.add(subject="modality:audio", description="25 a minute")
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="inputs[0].key", description="too long")
    assert details == {"ErrorInfo": info, "RetryInfo": retry, "QuotaFailure": quotas, "BadRequest": bad}


def test_upstream_details() -> None:
    """The upstream's message, rate limit headers and attempts are the same in a failed call as in a result."""
    said = UpstreamErrorInfo(400, message="Too long.", rate_limit_headers=(("retry-after", "7"),))
    error = UpstreamFailure(Reason.INPUT_REJECTED, "Too long.", upstream=said)
    error.attempts = 2
    _, details = decoded(error)
    info = details["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    facts = {"attempts": "2", "http_status": "400", "upstream_message": "Too long.", "retry-after": "7"}
    assert dict(info.metadata) == facts


@pytest.mark.parametrize(
    ("count", "listed", "last"), [(1, 1, ""), (20, 20, ""), (21, 21, "and 1 more"), (300, 21, "and 280 more")]
)
def test_listed_violations(count: int, listed: int, last: str) -> None:
    """At most 20 violations are listed, and the others are counted."""
    violations = tuple(Violation(f"inputs[{index}].text.value", "must not be empty") for index in range(count))
    _, details = decoded(InvalidRequest(*violations))
    bad = details["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert len(bad.field_violations) == listed
    assert [violation.field for violation in bad.field_violations][:20] == [v.field for v in violations[:20]]
    if last:
        assert (bad.field_violations[20].field, bad.field_violations[20].description) == ("", last)


@pytest.mark.parametrize("reason", list(Reason))
def test_pushback(reason: Reason) -> None:
    """Refusals have a retry pushback; other failures have none, or one that forbids retries."""
    expected = "1" if reason in {Reason.OVERLOADED, Reason.DRAINING} else "-1"
    trailers = dict(status.trailers(UpstreamFailure(reason, "so it is")))
    has_none = reason in GROUPS[1] - {Reason.REPLY_TOO_LARGE}  # with the code of a refusal
    assert trailers.get("grpc-retry-pushback-ms") == (None if has_none else expected)
    assert "grpc-status-details-bin" in trailers


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(None, "1"), (0.0, "1"), (0.0001, "1"), (1.5, "1500"), (1e300, "2147483647"), (float("inf"), "2147483647")],
)
def test_pushback_of_a_refusal(delay: float | None, expected: str) -> None:
    """The pushback is the retry delay in milliseconds, rounded up, at least 1 and at most what clients parse."""
    trailers = dict(status.trailers(Overloaded("busy", retry_delay=delay)))
    assert trailers["grpc-retry-pushback-ms"] == expected


def huge(text: str) -> list[GatewayError]:
    """Failures of the largest size and larger."""
    said = UpstreamErrorInfo(400, text, text, text, (("x-ratelimit-limit", text),))
    violations = tuple(Violation(f"inputs[{index}].{text}", text) for index in range(300))
    quotas = tuple(QuotaViolation(text, text) for _ in range(30))
    return [
        InvalidRequest(*violations),
        UpstreamFailure(Reason.INPUT_REJECTED, text, retry_delay=1e300, upstream=said),
        UpstreamFailure(Reason.UPSTREAM_CREDENTIALS, "set the key", upstream=said),
        GatewayError(text, violations=violations, quotas=quotas, retry_delay=5.0),
    ]


@pytest.mark.parametrize("text", ["x" * 120, "x" * 1024, "€" * 341], ids=["long", "very long", "not ASCII"])
def test_size(text: str) -> None:
    """The serialized details stay below 6 KB for any failure, and have the reason and the retry delay."""
    for error in huge(text):
        error.reason = getattr(error, "reason", Reason.OVERLOADED)
        encoded = status.details(error)
        assert len(urllib.parse.quote(status.text(error))) + len(base64.b64encode(encoded)) < 6 * 1024
        _, details = decoded(error)
        assert isinstance(details["ErrorInfo"], error_details_pb2.ErrorInfo)
        assert details["ErrorInfo"].reason == error.reason
        assert ("RetryInfo" in details) is (error.retry_delay is not None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [("x" * 1024, "x" * 1024), ("x" * 1025, "x" * 1021 + "…"), ("🦊" * 5000, "🦊" * 255 + "…")],
    ids=["at the limit", "above", "not ASCII"],
)
def test_text(message: str, expected: str) -> None:
    """A message is truncated to the size limit of a trailer."""
    assert status.text(UpstreamFailure(Reason.INPUT_REJECTED, message)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0.0, (0, 0), id="zero"),
        pytest.param(1e-9, (0, 0), id="below a microsecond"),
        pytest.param(0.000001, (0, 1000), id="a microsecond"),
        pytest.param(1.5, (1, 500_000_000), id="fraction"),
        pytest.param(86400.0, (86400, 0), id="a day"),
        pytest.param(1e300, (315_576_000_000, 0), id="beyond the range of Duration"),
        pytest.param(float("inf"), (315_576_000_000, 0), id="for ever"),
    ],
)
def test_duration(seconds: float, expected: tuple[int, int]) -> None:
    """Any number of seconds becomes a valid Duration."""
    message = status.duration(seconds)
    assert (message.seconds, message.nanos) == expected
    assert message.ToJsonString()


def test_internal_error_is_not_described() -> None:
    """An internal error refers to x-request-id and has no details except for ErrorInfo."""
    message, details = decoded(InternalError())
    assert "x-request-id" in message.message
    assert list(details) == ["ErrorInfo"]
