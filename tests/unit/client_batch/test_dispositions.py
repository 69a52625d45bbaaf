"""What a batch does after each failure."""

import errno
import os

import pytest

from embedwire.batch.dispositions import Disposition, disposition, has_reached_server
from embedwire.errors import Failure, FieldViolation
from embedwire.v1.error_reason_pb2 import ErrorReason

PERMANENT, AGAIN, STOP = Disposition

OF_REASONS = {
    "MALFORMED_MESSAGE": STOP,
    "INVALID_UPLOAD_FRAMING": PERMANENT,
    "UPLOAD_MISMATCH": PERMANENT,
    "CONTENT_TOO_LARGE": PERMANENT,
    "INPUT_REJECTED": PERMANENT,
    "RESOURCE_NOT_FOUND": PERMANENT,
    "REPLY_TOO_LARGE": PERMANENT,
    "DEADLINE_EXCEEDED": AGAIN,
    "CANCELLED": AGAIN,
    "UNAUTHENTICATED": STOP,
    "PERMISSION_DENIED": STOP,
    "CALLER_UPSTREAM_CREDENTIALS": STOP,
    "CALLER_STALLED": AGAIN,
    "UPSTREAM_TASK_NOT_FOUND": PERMANENT,
    "OVERLOADED": AGAIN,
    "DRAINING": AGAIN,
    "UPSTREAM_RATE_LIMITED": AGAIN,
    "UPSTREAM_QUOTA_EXHAUSTED": STOP,
    "UPSTREAM_CREDENTIALS": STOP,
    "UPSTREAM_PERMISSION_DENIED": STOP,
    "UPSTREAM_UNAVAILABLE": AGAIN,
    "UPSTREAM_TIMEOUT": AGAIN,
    "UPSTREAM_CONFLICT": AGAIN,
    "UPSTREAM_MALFORMED_REPLY": AGAIN,
    "UPSTREAM_INCOMPATIBLE": STOP,
    "INTERNAL": AGAIN,
}
ELSEWHERE = {"UNSPECIFIED", "INVALID_REQUEST", "RATE_LIMITED"}


def test_every_reason_is_listed() -> None:
    """The table has each reason of the contract."""
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - no mapping
    assert names == OF_REASONS.keys() | ELSEWHERE


@pytest.mark.parametrize(("reason", "expected"), OF_REASONS.items())
def test_reasons(reason: str, expected: Disposition) -> None:
    """The reason decides."""
    failure = Failure("UNKNOWN", reason, "")
    assert disposition(failure) is expected
    assert has_reached_server(failure)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), PERMANENT),
        (("inputs[3].text.value",), PERMANENT),
        (("inputs[3].text.value", ""), PERMANENT),
        (("model_name",), STOP),
        (("dimensions",), STOP),
        (("inputs",), STOP),
    ],
)
def test_invalid_requests(fields: tuple[str, ...], expected: Disposition) -> None:
    """An invalid request is the fault of an input only if a violation names one."""
    violations = tuple(FieldViolation(field, "is wrong") for field in fields)
    assert disposition(Failure("INVALID_ARGUMENT", "INVALID_REQUEST", "", violations)) is expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (os.strerror(errno.ENOENT), PERMANENT),
        (os.strerror(errno.EACCES), PERMANENT),
        (os.strerror(errno.EIO), AGAIN),
        ("ClientError", AGAIN),
    ],
)
def test_unreadable_content(fault: str, expected: Disposition) -> None:
    """Content that cannot be read is tried again, unless the file is missing or access is denied."""
    violation = FieldViolation("inputs[3].image.source", f"cannot be read: {fault}")
    assert disposition(Failure("INVALID_ARGUMENT", "INVALID_REQUEST", "", (violation,))) is expected


@pytest.mark.parametrize(("delay", "expected"), [(2.0, AGAIN), (None, PERMANENT)])
def test_rate_limits(delay: float | None, expected: Disposition) -> None:
    """An input that alone exceeds a rate limit is never accepted."""
    assert disposition(Failure("RESOURCE_EXHAUSTED", "RATE_LIMITED", "", retry_delay=delay)) is expected


@pytest.mark.parametrize(
    ("code", "expected", "has_reached"),
    [
        ("UNAVAILABLE", AGAIN, False),
        ("INTERNAL", AGAIN, True),
        ("UNKNOWN", AGAIN, True),
        ("RESOURCE_EXHAUSTED", AGAIN, True),
        ("UNAUTHENTICATED", STOP, True),
        ("PERMISSION_DENIED", STOP, True),
        ("UNIMPLEMENTED", STOP, True),
    ],
)
def test_calls_that_grpc_or_a_proxy_ended(code: str, expected: Disposition, *, has_reached: bool) -> None:
    """Without a reason, the code decides; the server was not reached if it is UNAVAILABLE."""
    failure = Failure(code, "", "")
    assert disposition(failure) is expected
    assert has_reached_server(failure) is has_reached


@pytest.mark.parametrize(("code", "expected"), [("INVALID_ARGUMENT", PERMANENT), ("INTERNAL", AGAIN)])
def test_reasons_of_later_servers(code: str, expected: Disposition) -> None:
    """An unknown reason is permanent if it is the fault of the request."""
    assert disposition(Failure(code, "OF_LATER", "")) is expected
