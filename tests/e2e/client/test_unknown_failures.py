"""Failures that the contract does not define: unknown reasons and codes, and the details of other servers."""

from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from embedwire import (
    DeadlineExceededError,
    EmbedwireError,
    Failure,
    GatewayError,
    RefusedError,
    RequestError,
    TransportError,
    UpstreamError,
)
from embedwire.details import DETAILS_KEY, error_from_call
from embedwire.details import failure as read_failure
from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import PICTURE, Connect
from tests.e2e.client.failures import Call
from tests.e2e.client.services import Context, segment, service

FUTURE: dict[str, tuple[int, type[EmbedwireError]]] = {
    "DEADLINE_EXCEEDED": (4, DeadlineExceededError),
    "UNAVAILABLE": (14, GatewayError),
    "INVALID_ARGUMENT": (3, RequestError),
    "NOT_FOUND": (5, RequestError),
    "UNAUTHENTICATED": (16, RequestError),
    "PERMISSION_DENIED": (7, RequestError),
    "RESOURCE_EXHAUSTED": (8, RequestError),
    "INTERNAL": (13, GatewayError),
    "UNKNOWN": (2, GatewayError),
    "DATA_LOSS": (15, GatewayError),
}


@pytest.mark.parametrize("code", FUTURE)
def test_an_unknown_reason_outside_the_groups_has_the_class_of_its_code(code: str) -> None:
    """A reason beyond all groups keeps its number, and the status code selects the class, from status and result."""
    number, expected = FUTURE[code]
    message = pb.Failure(code=number, message="new", reason=999)  # type: ignore[arg-type]
    caught = error_from_call(Call(grpc.StatusCode[code], "new", [(DETAILS_KEY, packed(message))]), "mine")
    failure = read_failure(message)

    assert (type(caught), caught.reason, caught.code) == (expected, "999", code)
    assert (type(failure.error()), failure.reason, failure.code) == (expected, "999", code)


@pytest.mark.parametrize(("number", "expected"), [(55, RequestError), (155, RefusedError), (255, UpstreamError)])
def test_an_unknown_reason_number_has_the_class_of_its_group(number: int, expected: type[EmbedwireError]) -> None:
    """An unknown reason number selects the class of the contract's group for that number."""
    failure = read_failure(pb.Failure(code=14, message="new", reason=number))  # type: ignore[arg-type]
    assert type(failure.error()) is expected


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_call_without_a_failure_was_ended_by_the_transport(code: grpc.StatusCode) -> None:
    """A status without a Failure is a TransportError with that code and no reason, but for a deadline and a cancel."""
    caught = error_from_call(Call(code, "theirs"), "mine")
    expected: dict[str, tuple[type[EmbedwireError], str]] = {
        "DEADLINE_EXCEEDED": (DeadlineExceededError, "DEADLINE_EXCEEDED"),
        "CANCELLED": (RequestError, "CANCELLED"),
    }
    assert (type(caught), caught.reason) == expected.get(code.name, (TransportError, ""))
    assert (caught.code, caught.message, caught.attempts) == (code.name, "theirs", 0)
    assert isinstance(caught, ConnectionError) is (type(caught) is TransportError)


def test_an_unknown_status_code() -> None:
    """An unknown status code number is kept, and the failure has the class of a server failure."""
    failure = read_failure(pb.Failure(code=77, message="new", reason=999))  # type: ignore[arg-type]
    assert (failure.code, type(failure.error())) == ("77", GatewayError)


def packed(*details: Any) -> bytes:
    message = status_pb2.Status(code=3, message="theirs")
    for detail in details:
        message.details.add().Pack(detail)
    encoded: bytes = message.SerializeToString()
    return encoded


FOREIGN: dict[str, bytes] = {
    "google.rpc only": packed(error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="embedwire.dev")),
    "another domain": packed(error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="example.com")),
    "no reason": packed(error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()),
    "other details": packed(error_details_pb2.DebugInfo(detail="x"), pb.Segment(), status_pb2.Status(code=1)),
    "nothing": b"",
    "garbage": b"\xff\xff\xff\xff\x07not protobuf",
    "garbage within": status_pb2.Status(
        code=3,
        details=[any_pb2.Any(type_url="type.googleapis.com/embedwire.v1.Failure", value=b"\xff\xff\xff\x07no")],
    ).SerializeToString(),
    "no type": status_pb2.Status(code=3, details=[any_pb2.Any(value=b"abc")]).SerializeToString(),
    "not UTF-8": b"\x12\x02\xff\xfe",
}


@pytest.mark.parametrize("details", FOREIGN.values(), ids=FOREIGN)
async def test_another_servers_details(connect: Connect, details: bytes) -> None:
    """Foreign details or no details at all leave the code and the message of the failure."""

    async def create(_: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "theirs", ((DETAILS_KEY, details),))

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with pytest.raises(TransportError) as caught:
            await client.embed("m", PICTURE, request_id="mine", timeout=10)

    assert caught.value.failure == Failure("INVALID_ARGUMENT", "", "theirs")
    assert (caught.value.request_id, caught.value.attempts) == ("mine", 0)


@pytest.mark.parametrize("trailers", [None, (), [("x-request-id", "a")]])
def test_no_trailers(trailers: Any) -> None:
    """A call that ended without trailers or message is raised by its status code."""
    caught = error_from_call(Call(grpc.StatusCode.UNAVAILABLE, None, trailers), "mine")
    assert (type(caught), caught.failure) == (TransportError, Failure("UNAVAILABLE", "", ""))
