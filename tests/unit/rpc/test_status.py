"""The table of reasons, the status message and the retry pushback."""

import re
import urllib.parse
from collections.abc import Set as AbstractSet
from pathlib import Path

import grpc
import pytest

from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import Overloaded, Reason, UpstreamFailure
from embedwire_server.rpc import error_details, status

PROTO = Path(__file__).parents[3] / "proto/embedwire/v1/error_reason.proto"
PREFIX = "ERROR_REASON_"
SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
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
        "UPSTREAM_TASK_NOT_FOUND",
    },
    100: {"OVERLOADED", "RATE_LIMITED", "DRAINING"},
    200: {reason for reason in Reason if reason.startswith("UPSTREAM_")} - {Reason.UPSTREAM_TASK_NOT_FOUND},
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
def test_pushback(reason: Reason) -> None:
    """Refusals have a retry pushback; other failures have none, or one that forbids retries."""
    expected = "1" if reason in {Reason.OVERLOADED, Reason.DRAINING} else "-1"
    trailers = dict(error_details.trailers(UpstreamFailure(reason, "so it is")))
    has_none = reason in GROUPS[1] - {Reason.REPLY_TOO_LARGE}  # with the code of a refusal
    assert trailers.get("grpc-retry-pushback-ms") == (None if has_none else expected)
    assert "grpc-status-details-bin" in trailers


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(None, "1"), (0.0, "1"), (0.0001, "1"), (1.5, "1500"), (1e300, "2147483647"), (float("inf"), "2147483647")],
)
def test_pushback_of_a_refusal(delay: float | None, expected: str) -> None:
    """The pushback is the retry delay in milliseconds, rounded up, at least 1 and at most what clients parse."""
    trailers = dict(error_details.trailers(Overloaded("busy", retry_delay=delay)))
    assert trailers["grpc-retry-pushback-ms"] == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("x" * 512, "x" * 512),
        ("x" * 513, "x" * 503 + "…"),
        ("é" * 85, "é" * 85),
        ("é" * 86, "é" * 83 + "…"),
        ("🦊" * 5000, "🦊" * 41 + "…"),
        ("50 %", "50 %"),
    ],
    ids=["at the limit", "above", "not ASCII", "not ASCII above", "four bytes", "percent"],
)
def test_message(message: str, expected: str) -> None:
    """A status message has at most 512 bytes as percent-encoded by gRPC."""
    shown = status.message(UpstreamFailure(Reason.INPUT_REJECTED, message))
    assert shown == expected
    assert status.encoded_size(shown) == len(urllib.parse.quote(shown, safe=SAFE)) <= 512
