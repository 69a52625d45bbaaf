"""Failures as exceptions: every reason of the contract, from the status of a call and from a result."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire import (
    DeadlineExceededError,
    EmbedwireError,
    Failure,
    FieldViolation,
    GatewayError,
    QuotaViolation,
    RefusedError,
    RequestError,
    Text,
    UpstreamError,
    UpstreamReply,
)
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.core import errors
from embedwire_server.core.errors import Reason
from embedwire_server.core.failure_causes import Cause
from embedwire_server.rpc import error_details, status
from tests.e2e.client.callers import PICTURE, Connect
from tests.e2e.client.failures import by_result, by_status, failed
from tests.e2e.client.services import Context, answering, result, segment, service

NUMBERS = {name.removeprefix("ERROR_REASON_"): number for name, number in error_reason_pb2.ErrorReason.items()}


def class_of(number: int) -> type[EmbedwireError]:
    """The exception class for the group of a reason, by the contract's numbering."""
    if number < 100:
        return RequestError
    return {1: RefusedError, 2: UpstreamError, 3: GatewayError}[number // 100]


def full(reason: Reason) -> errors.GatewayError:
    """A failure with all fields set."""
    error = failed(
        reason,
        violations=(errors.Violation("inputs[0].key", "too long"), errors.Violation("inputs[1].text", "zu groß")),
        retry_delay=1.25,
        quotas=(errors.QuotaViolation("modality:audio", "25 a minute"),),
        upstream=errors.UpstreamErrorInfo(
            429,
            "too_many_requests",
            "Slow down, 🦊.",
            "https://example.com/errors",
            (("x-ratelimit-limit", "25"), ("x-ratelimit-remaining", "0"), ("retry-after", "7"), ("ratelimit", "3")),
        ),
    )
    error.attempts = 3
    error.cause = Cause.CONNECTION_REFUSED
    return error


def aborting(error: errors.GatewayError) -> Any:
    """A CreateEmbedding that fails in the format of the real server."""

    async def create(_: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()
        await context.abort(status.code(error), status.message(error), error_details.trailers(error))

    return create


@pytest.mark.parametrize("reason", list(Reason))
async def test_every_reason_from_status_and_result(connect: Connect, reason: Reason) -> None:
    """Each reason of the contract, with all its fields, is raised as the class of its group, from status and result."""
    error = full(reason)
    expected = Failure(
        status.CODES[reason].name,
        reason.value,
        "so it is",
        (FieldViolation("inputs[0].key", "too long"), FieldViolation("inputs[1].text", "zu groß")),
        1.25,
        (QuotaViolation("modality:audio", "25 a minute"),),
        UpstreamReply(
            429,
            "too_many_requests",
            "Slow down, 🦊.",
            "https://example.com/errors",
            {"x-ratelimit-limit": "25", "x-ratelimit-remaining": "0", "retry-after": "7", "ratelimit": "3"},
        ),
        "connection_refused",
    )
    in_result = answering(result(0, failure=error_details.failure_message(error), attempts=3), segment(1), result(1))
    async with service(CreateEmbedding=aborting(error)) as target, connect(target) as client:
        with pytest.raises(EmbedwireError) as caught:
            await asyncio.wait_for(client.embed("m", PICTURE, request_id="mine", timeout=10), 10)
    async with service(CreateEmbedding=in_result) as target, connect(target) as client:
        first, second = await client.embed("m", [Text("a"), Text("b")], request_id="mine", timeout=10)
    with pytest.raises(EmbedwireError) as raised:
        first.result.raise_for_failure()

    assert second.failure is None
    assert first.failure == expected
    wanted = DeadlineExceededError if reason is Reason.DEADLINE_EXCEEDED else class_of(NUMBERS[reason])
    for exception in (caught.value, raised.value):
        assert type(exception) is wanted
        assert exception.failure == expected
        assert (exception.code, exception.reason, exception.message) == (expected.code, reason.value, "so it is")
        assert (exception.violations, exception.retry_delay) == (expected.violations, 1.25)
        assert (exception.upstream, exception.request_id, exception.attempts) == (expected.upstream, "mine", 3)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_minimal_failure(reason: Reason) -> None:
    """A failure with only a reason and a message has no other fields set in the client."""
    expected = Failure(status.CODES[reason].name, reason.value, "so it is")
    assert by_status(failed(reason)).failure == by_result(failed(reason)) == expected
    assert by_status(failed(reason)).attempts == 0


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
SAID = st.builds(
    errors.UpstreamErrorInfo,
    st.integers(100, 599),
    WORDS,
    WORDS,
    WORDS,
    st.dictionaries(st.sampled_from(["x-ratelimit-limit", "ratelimit", "retry-after"]), WORDS).map(
        lambda found: tuple(found.items())
    ),
)
FAILURES = st.builds(
    failed,
    st.sampled_from(list(Reason)),
    WORDS.map(lambda words: f"!{words}"),  # so that it is not the upstream's message
    violations=st.lists(st.builds(errors.Violation, WORDS, WORDS), max_size=3).map(tuple),
    retry_delay=st.none() | st.floats(0, 1e12),
    quotas=st.lists(st.builds(errors.QuotaViolation, WORDS, WORDS), max_size=3).map(tuple),
    upstream=st.none() | SAID,
)


@given(FAILURES, st.integers(0, 9))
@settings(max_examples=150)
def test_status_and_result_give_the_same_failure(error: errors.GatewayError, attempts: int) -> None:
    """The status of a call and a result with the same content give equal Failures."""
    error.attempts = attempts
    caught = by_status(error)
    assert caught.failure == by_result(error)
    assert caught.attempts == attempts
    assert type(caught) is type(by_result(error).error())


def test_an_upstream_failure_without_a_message() -> None:
    """An upstream failure with a status and no message has an empty message, from status and result."""
    error = failed(Reason.UPSTREAM_UNAVAILABLE, "the upstream answered with HTTP status 503")
    error.upstream = errors.UpstreamErrorInfo(503)
    assert by_result(error).upstream == UpstreamReply(503)
    assert by_status(error).failure == by_result(error)


def test_an_upstream_message_that_is_the_failures_own() -> None:
    """A message of the upstream that is also that of the failure is in both, from status and result."""
    error = failed(Reason.INPUT_REJECTED, "Too long.")
    error.upstream = errors.UpstreamErrorInfo(400, message="Too long.")
    assert by_result(error).upstream == UpstreamReply(400, message="Too long.")
    assert by_status(error).failure.upstream == UpstreamReply(400, message="Too long.")
    assert by_status(error).message == "Too long."


def test_a_long_message_is_not_cut_to_that_of_the_status() -> None:
    """The message of a call's failure is that of `Failure`, which is longer than that of the status."""
    error = failed(Reason.INTERNAL, "x" * 950)
    assert by_status(error).message == "x" * 950


def test_truncated_details() -> None:
    """Details that the server had to truncate still give reason, class and delay."""
    text = "€" * 341
    error = failed(
        Reason.UPSTREAM_RATE_LIMITED,
        text,
        retry_delay=5.0,
        violations=tuple(errors.Violation(f"inputs[{index}].{text}", text) for index in range(30)),
        upstream=errors.UpstreamErrorInfo(429, text, text, text, (("x-ratelimit-limit", text),)),
    )
    caught = by_status(error)
    assert type(caught) is UpstreamError
    assert (caught.reason, caught.retry_delay) == ("UPSTREAM_RATE_LIMITED", 5.0)
    assert caught.message.startswith("€" * 30)
    assert len(by_result(error).violations) == 21
