"""Failures that depend on what was requested: an embedding, a task, an asset."""

import pytest

from embedwire_server.core.errors import Reason, RetrySafety, UpstreamErrorInfo
from embedwire_server.upstreams.twelvelabs import errors
from embedwire_server.upstreams.twelvelabs.errors import Subject
from tests.unit.upstreams.twelvelabs.errors_support import KEY, refused

MISSING = {
    Subject.EMBED_V1: Reason.UPSTREAM_INCOMPATIBLE,
    Subject.EMBED: Reason.UPSTREAM_INCOMPATIBLE,
    Subject.TASK_CREATION: Reason.UPSTREAM_INCOMPATIBLE,
    Subject.ASSET_CREATION: Reason.UPSTREAM_INCOMPATIBLE,
    Subject.CHUNK: Reason.UPSTREAM_UNAVAILABLE,
    Subject.TASK: Reason.UPSTREAM_TASK_NOT_FOUND,
    Subject.ASSET: Reason.RESOURCE_NOT_FOUND,
}
BODIES = [
    b"",
    {"error": {"code": "NOT_FOUND", "message": "No.", "details": {}}},
    {"code": "not_found", "message": "No."},
]


@pytest.mark.parametrize("subject", list(Subject))
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("body", BODIES, ids=["empty", "nested", "flat"])
def test_what_is_missing(subject: Subject, status: int, body: object) -> None:
    """A 404 or 410 means that the task, the asset or the endpoint is missing, in either format of the body."""
    assert refused(status, body, subject=subject).reason is MISSING[subject]


@pytest.mark.parametrize("subject", [Subject.TASK, Subject.ASSET])
def test_a_missing_resource_by_its_code(subject: Subject) -> None:
    """The code of a missing resource does not change the reason for a task or an asset."""
    failure = refused(404, {"code": "resource_not_exist", "message": "m"}, subject=subject)
    assert failure.reason is MISSING[subject]


@pytest.mark.parametrize("subject", list(Subject))
def test_a_rejected_input(subject: Subject) -> None:
    """A 400 with an unknown code, as for an asset that is not ready, is a rejected input."""
    body = {"error": {"code": "ASSET_NOT_READY", "message": "Wait."}}
    failure = refused(400, body, subject=subject)
    assert (failure.reason, failure.message) == (Reason.INPUT_REJECTED, "Wait.")
    assert failure.retry_safety is RetrySafety.UNSAFE


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
@pytest.mark.parametrize("body", [b"<Error><Code>AccessDenied</Code></Error>", {"code": "api_key_invalid"}], ids=str)
def test_a_rejected_chunk(status: int, body: object) -> None:
    """The request for a chunk has no key, so that its rejection says nothing of a key, an account or the API."""
    failure = refused(status, body, subject=Subject.CHUNK)
    assert failure.reason is Reason.UPSTREAM_UNAVAILABLE
    assert failure.message == (
        f"the upstream's store rejected the URL of a chunk (HTTP status {status}); send the file again"
    )
    assert failure.retry_safety is RetrySafety.UNSAFE


@pytest.mark.parametrize("status", [404, 410])
def test_v1_may_be_switched_off(status: int) -> None:
    """The message for a missing v1 endpoint names the URL of the upstream and the version of its API."""
    message = refused(status, subject=Subject.EMBED_V1).message
    assert "--upstream" in message
    assert "upstream.api_version to v2" in message
    assert "api_version" not in refused(status, subject=Subject.EMBED).message
    assert "api_version" not in refused(405, subject=Subject.EMBED_V1).message


@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 429, 500, 502, 503, 504])
def test_creations_are_repeated_after_429_only(status: int) -> None:
    """The creation of a task or asset may be repeated only after a 429; other requests as documented."""
    is_safe = refused(status).retry_safety is RetrySafety.SAFE
    assert is_safe is (status in {408, 409, 429, 502, 503, 504})
    for subject in (Subject.TASK, Subject.ASSET):
        assert refused(status, subject=subject).retry_safety is refused(status).retry_safety
    for subject in (Subject.TASK_CREATION, Subject.ASSET_CREATION, Subject.CHUNK):
        expected = RetrySafety.SAFE if status == 429 else RetrySafety.UNSAFE
        assert refused(status, subject=subject).retry_safety is expected


def test_an_exhausted_quota_is_not_repeated() -> None:
    """A 429 whose code says that the quota is exhausted is not repeated."""
    failure = refused(429, {"code": "usage_limit_exceeded"}, subject=Subject.TASK_CREATION)
    assert (failure.reason, failure.retry_safety) == (Reason.UPSTREAM_QUOTA_EXHAUSTED, RetrySafety.UNSAFE)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("5f0c1e", "5f0c1e"),
        (f"a{KEY}b", "a[key]b"),
        ("x" * 128, "x" * 128),
        ("x" * 129, "x" * 125 + "…"),
    ],
)
def test_trace_id(sent: str, expected: str) -> None:
    """The trace id of an error response is kept, without the key and at most 128 bytes of it."""
    said = refused(500, headers={"X-Trace-Id": sent}).upstream
    assert said is not None
    assert said.trace_id == expected


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("The embedding service is temporarily unstable. Please try again later.", Reason.UPSTREAM_UNAVAILABLE),
        ("The embedding task failed. Please try again later.", Reason.UPSTREAM_UNAVAILABLE),
        ("The embedding task could not complete processing.", Reason.INPUT_REJECTED),
        ("The embedding request was invalid.", Reason.INPUT_REJECTED),
        ("The media exceeds the maximum allowed size for embedding.", Reason.CONTENT_TOO_LARGE),
        ("Content exceeds the model's context window.", Reason.INPUT_REJECTED),
        ("The embedding result is no longer available and cannot be retrieved.", Reason.INPUT_REJECTED),
        ("failed to fetch or materialize source media", Reason.INPUT_REJECTED),
        (
            "We could not process your media for embedding. Please verify the input file and try again.",
            Reason.INPUT_REJECTED,
        ),
        ("Document (17 pages) exceeds maximum limit of 6 pages", Reason.CONTENT_TOO_LARGE),
        ("File size (33.6 MB) exceeds maximum limit of 32 MB", Reason.CONTENT_TOO_LARGE),
        ("Duration (35.0 seconds) exceeds maximum limit of 30 seconds (0 minutes)", Reason.CONTENT_TOO_LARGE),
        ("A text of tomorrow.", Reason.INPUT_REJECTED),
    ],
)
def test_failed_tasks(message: str, reason: Reason) -> None:
    """Each documented text of a failed task has its reason, and none is repeated automatically."""
    failure = errors.from_task_failure(message, KEY)
    assert (failure.reason, failure.message) == (reason, message)
    assert failure.upstream == UpstreamErrorInfo(200, message=message)
    assert failure.retry_safety is RetrySafety.UNSAFE


def test_text_of_a_failed_task_is_sanitized() -> None:
    """The text of a failed task has neither the key nor control characters, and an empty one is replaced."""
    assert errors.from_task_failure(f"no\n{KEY}", KEY).message == "no [key]"
    assert errors.from_task_failure("", KEY).message == "the upstream's task failed without a reason"
