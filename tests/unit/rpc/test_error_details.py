"""The failure of an input or a call as a message, and the trailers of a failed call."""

import base64
import urllib.parse

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    QuotaViolation,
    Reason,
    UpstreamErrorInfo,
    UpstreamFailure,
    Violation,
)
from embedwire_server.core.failure_causes import Cause
from embedwire_server.rpc import error_details, status

# The other trailers of every call at their longest, with what HPACK adds to each.
_LONGEST = "3600000.000"
OTHERS = {
    "x-request-id": "x" * 64,
    "embedwire-upstream": "twelvelabs",
    "embedwire-attempts": "1234567",
    "embedwire-cache": "hit=1234, coalesced=1234, miss=1234",
    "server-timing": ", ".join(f"{name};dur={_LONGEST}" for name in ("queue", "upload", "upstream", "decode")),
    "grpc-status": "16",
}
SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def decoded(error: GatewayError) -> tuple[status_pb2.Status, dict[str, object]]:
    """Return the status of a failed call, and its details by type."""
    message = status_pb2.Status.FromString(error_details.details(error))
    details: dict[str, object] = {}
    for detail in message.details:
        name = detail.TypeName().rpartition(".")[2]
        kind = pb.Failure if name == "Failure" else getattr(error_details_pb2, name)
        details[name] = kind()
        assert detail.Unpack(details[name])
    return message, details


def trailer_bytes(error: GatewayError) -> int:
    """Return the size of all trailers of a failed call as encoded."""
    found: dict[str, str | bytes] = {**OTHERS, "grpc-message": urllib.parse.quote(status.message(error), safe=SAFE)}
    found.update(error_details.trailers(error))
    encoded = {
        name: base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode()
        for name, value in found.items()
    }
    return sum(len(name) + len(value) + 4 for name, value in encoded.items())


@pytest.mark.parametrize("reason", list(Reason))
def test_failure_reasons(reason: Reason) -> None:
    """Every reason has its value of the contract."""
    message = error_details.failure_message(UpstreamFailure(reason, "no"))
    assert error_reason_pb2.ErrorReason.Name(message.reason) == f"ERROR_REASON_{reason.value}"
    assert message.code > 0
    assert not message.HasField("retry_delay")
    assert not message.HasField("upstream_error")


def test_failure() -> None:
    """A failure carries its fields, quotas, delay and the upstream's message."""
    error = GatewayError(
        "x" * 2000,
        violations=tuple(Violation(f"inputs[{index}]", "no") for index in range(300)),
        retry_delay=1.5,
        quotas=(QuotaViolation("modality:audio", "25 a minute"),),
        upstream=UpstreamErrorInfo(
            429, "code", "words", "url", (("retry-after", "2"), ("x-ratelimit-limit", "25")), trace_id="trace"
        ),
    )
    error.reason = Reason.RATE_LIMITED
    message = error_details.failure_message(error)
    assert message.code == 8
    assert message.message == "x" * 1021 + "…"
    assert len(message.field_violations) == 21
    assert message.field_violations[20].description == "and 280 more"
    assert message.retry_delay.ToMilliseconds() == 1500
    assert list(message.quota_violations) == [pb.QuotaViolation(subject="modality:audio", description="25 a minute")]
    assert message.upstream_error == pb.UpstreamError(
        http_status=429,
        code="code",
        message="words",
        docs_url="url",
        rate_limit_headers={"retry-after": "2", "x-ratelimit-limit": "25"},
        trace_id="trace",
    )


def test_failure_of_fields() -> None:
    """A small number of violations is complete."""
    message = error_details.failure_message(InvalidRequest(Violation("a", "b"), Violation("c", "d")))
    assert [(violation.field, violation.description) for violation in message.field_violations] == [
        ("a", "b"),
        ("c", "d"),
    ]


@pytest.mark.parametrize("reason", list(Reason))
def test_details_of_each_reason(reason: Reason) -> None:
    """Every failed call has a Failure and an ErrorInfo with its reason, and the code of its status."""
    message, details = decoded(UpstreamFailure(reason, "so it is"))
    assert (message.code, message.message) == (status.CODES[reason].value[0], "so it is")
    number = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    assert details == {
        "ErrorInfo": error_details_pb2.ErrorInfo(reason=reason, domain="embedwire.dev"),
        "Failure": pb.Failure(code=message.code, reason=number, message="so it is"),
    }


def everything() -> GatewayError:
    """A failure with all that a failure may have."""
    error = GatewayError(
        "so it is",
        violations=(Violation("inputs[0].key", "too long"),),
        retry_delay=1.5,
        quotas=(QuotaViolation("modality:audio", "25 a minute"),),
        upstream=UpstreamErrorInfo(429, "too_many", "Slow down.", "https://example.com", (("retry-after", "7"),)),
    )
    error.reason, error.attempts, error.cause = Reason.RATE_LIMITED, 2, Cause.MEMORY
    return error


def test_all_details() -> None:
    """Failure has everything, and the messages of google.rpc repeat what they have fields for."""
    error = everything()
    _, details = decoded(error)
    failure = error_details.failure_message(error)
    failure.attempts = 2
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds, retry.retry_delay.nanos = 1, 500_000_000
    quotas = error_details_pb2.QuotaFailure()
    quotas.violations.add(subject="modality:audio", description="25 a minute")
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="inputs[0].key", description="too long")
    info = error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="embedwire.dev")
    expected = {"ErrorInfo": info, "RetryInfo": retry, "Failure": failure, "QuotaFailure": quotas, "BadRequest": bad}
    assert details == expected
    assert failure.cause == "memory"


@pytest.mark.parametrize(("size", "is_repeated"), [(9, True), (900, False)])
def test_a_repeated_message_is_left_out_first(size: int, is_repeated: bool) -> None:  # noqa: FBT001
    """A message of the upstream that is also that of the failure is sent twice only if both fit."""
    text = "x" * size
    said = UpstreamErrorInfo(400, "code", text, "https://example.com/errors", (("retry-after", "7"),))
    _, details = decoded(UpstreamFailure(Reason.INPUT_REJECTED, text, upstream=said))
    failure = details["Failure"]
    assert isinstance(failure, pb.Failure)
    assert failure.message == text
    assert failure.upstream_error == pb.UpstreamError(
        http_status=400,
        code="code",
        message=text if is_repeated else "",
        docs_url="https://example.com/errors",
        rate_limit_headers={"retry-after": "7"},
    )


def test_a_huge_code_does_not_shorten_the_message() -> None:
    """A long code of the upstream is cut before the message of the failure."""
    said = UpstreamErrorInfo(400, "c" * 1000, "x" * 600, "https://example.com/" + "y" * 1000)
    _, details = decoded(UpstreamFailure(Reason.INPUT_REJECTED, "x" * 600, upstream=said))
    failure = details["Failure"]
    assert isinstance(failure, pb.Failure)
    assert failure.message == "x" * 600
    assert failure.upstream_error.code == "c" * 64


@pytest.mark.parametrize(("size", "trace_id"), [(285, "t" * 128), (305, "")])
def test_the_trace_id_is_left_out_before_other_optional_parts(size: int, trace_id: str) -> None:
    """The trace id is sent if it fits, and is the first optional part that is left out; the others remain."""
    docs_url = "https://example.com/" + "y" * size
    said = UpstreamErrorInfo(400, "c" * size, "x" * size, docs_url, trace_id="t" * 128)
    _, details = decoded(UpstreamFailure(Reason.INPUT_REJECTED, "z" * size, upstream=said))
    failure = details["Failure"]
    assert isinstance(failure, pb.Failure)
    assert (failure.upstream_error.trace_id, failure.upstream_error.docs_url) == (trace_id, docs_url)


def test_no_upstream_error_is_invented() -> None:
    """A failure in which the upstream said nothing has no upstream_error, however much it is shortened."""
    for error in huge("x" * 1024):
        _, details = decoded(error)
        failure = details["Failure"]
        assert isinstance(failure, pb.Failure)
        assert error.upstream is not None or not failure.HasField("upstream_error")


@pytest.mark.parametrize(
    ("count", "listed", "last"), [(1, 1, ""), (20, 20, ""), (21, 21, "and 1 more"), (300, 21, "and 280 more")]
)
def test_listed_violations(count: int, listed: int, last: str) -> None:
    """At most 20 violations are listed, and the others are counted."""
    violations = tuple(Violation(f"inputs[{index}].text.value", "must not be empty") for index in range(count))
    _, details = decoded(InvalidRequest(*violations))
    bad = details["Failure"]
    assert isinstance(bad, pb.Failure)
    assert len(bad.field_violations) == listed
    assert [violation.field for violation in bad.field_violations][:20] == [v.field for v in violations[:20]]
    if last:
        assert (bad.field_violations[20].field, bad.field_violations[20].description) == ("", last)


def huge(text: str) -> list[GatewayError]:
    """Failures of the largest size and larger."""
    said = UpstreamErrorInfo(400, text, text, text, (("x-ratelimit-limit", text),), trace_id=text[:128])
    violations = tuple(Violation(f"inputs[{index}].{text}", text) for index in range(300))
    quotas = tuple(QuotaViolation(text, text) for _ in range(30))
    errors = [
        InvalidRequest(*violations),
        UpstreamFailure(Reason.INPUT_REJECTED, text, retry_delay=1e300, upstream=said),
        UpstreamFailure(Reason.UPSTREAM_CREDENTIALS, "set the key", upstream=said),
        GatewayError(text, violations=violations, quotas=quotas, retry_delay=5.0),
        GatewayError(text, violations=violations, quotas=quotas, retry_delay=5.0, upstream=said),
    ]
    for error in errors:
        error.reason = getattr(error, "reason", Reason.OVERLOADED)
    return errors


@pytest.mark.parametrize("text", ["x" * 120, "x" * 1024, "€" * 341, "%" * 1024, "🦊" * 40], ids=str)
def test_size(text: str) -> None:
    """All trailers of any failure have at most 3 KiB, among them the reason, the delay and part of the message."""
    for error in huge(text):
        assert trailer_bytes(error) <= 3072
        _, details = decoded(error)
        failure = details["Failure"]
        assert isinstance(failure, pb.Failure)
        assert isinstance(details["ErrorInfo"], error_details_pb2.ErrorInfo)
        assert error_reason_pb2.ErrorReason.Name(failure.reason).endswith(details["ErrorInfo"].reason)
        assert failure.HasField("retry_delay") is ("RetryInfo" in details) is (error.retry_delay is not None)
        assert error.message.startswith(failure.message.removesuffix("…"))
        assert len(failure.message.encode()) >= min(100, len(error.message.encode()))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=1500)


@given(
    message=TEXTS,
    violations=st.lists(st.tuples(TEXTS, TEXTS), max_size=30),
    quotas=st.lists(st.tuples(TEXTS, TEXTS), max_size=5),
    said=st.none() | st.tuples(TEXTS, TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=5)),
)
def test_size_of_any_failure(
    message: str,
    violations: list[tuple[str, str]],
    quotas: list[tuple[str, str]],
    said: tuple[str, str, str, dict[str, str]] | None,
) -> None:
    """All trailers of a failed call have at most 3 KiB, and the details can be decoded and include a Failure."""
    upstream = None if said is None else UpstreamErrorInfo(400, *said[:3], tuple(said[3].items()))
    error = GatewayError(
        message,
        violations=tuple(Violation(*each) for each in violations),
        quotas=tuple(QuotaViolation(*each) for each in quotas),
        upstream=upstream,
        retry_delay=2.0,
    )
    error.reason, error.attempts, error.cause = Reason.INPUT_REJECTED, 3, Cause.CERTIFICATE_NOT_YET_VALID
    assert trailer_bytes(error) <= 3072
    _, details = decoded(error)
    assert isinstance(details["Failure"], pb.Failure)


def test_internal_error_is_not_described() -> None:
    """An internal error refers to x-request-id and has no details except for its reason."""
    message, details = decoded(InternalError())
    assert "x-request-id" in message.message
    assert list(details) == ["ErrorInfo", "Failure"]
