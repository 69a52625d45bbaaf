"""Failures as exceptions: every reason of the contract, from the status of a call and from a result."""

import asyncio
import contextlib
import copy
import pickle
import socket
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire import (
    AsyncClient,
    Audio,
    DeadlineExceededError,
    EmbedwireError,
    Failure,
    FieldViolation,
    GatewayError,
    Image,
    QuotaViolation,
    RefusedError,
    RequestError,
    Text,
    UnreachableError,
    UpstreamError,
    UpstreamReply,
)
from embedwire.details import error_from_call
from embedwire.replies import failure as read_failure
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.core import errors
from embedwire_server.core.errors import Reason
from embedwire_server.core.failure_causes import Cause
from embedwire_server.rpc import encode, status
from tests.e2e.client.callers import Connect, InTheLoop, InThreads, connecting
from tests.e2e.client.services import Context, answering, result, segment, service
from tests.support.serving import Served

NUMBERS = {name.removeprefix("ERROR_REASON_"): number for name, number in error_reason_pb2.ErrorReason.items()}


def class_of(number: int) -> type[EmbedwireError]:
    """The exception class for the group of a reason, by the contract's numbering."""
    if number < 100:
        return RequestError
    return {1: RefusedError, 2: UpstreamError, 3: GatewayError}[number // 100]


def failed(reason: Reason, message: str = "so it is", **more: Any) -> errors.GatewayError:
    error = errors.GatewayError(message, **more)
    error.reason = reason
    return error


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
        trailers = ((status.DETAILS_KEY, status.details(error)),)
        await context.abort(status.code(error), status.text(error), trailers)

    return create


class Call:
    """A failed call with the interface of grpc."""

    def __init__(self, code: grpc.StatusCode, message: str | None, trailers: Any = ()) -> None:
        self._facts = code, message, trailers

    def code(self) -> grpc.StatusCode:
        return self._facts[0]

    def details(self) -> str | None:
        return self._facts[1]

    def trailing_metadata(self) -> Any:
        return self._facts[2]


def by_status(error: errors.GatewayError) -> EmbedwireError:
    trailers = [("x-request-id", "theirs"), (status.DETAILS_KEY, status.details(error))]
    return error_from_call(Call(status.code(error), status.text(error), trailers), "mine")


def by_result(error: errors.GatewayError) -> Failure:
    return read_failure(pb.Failure.FromString(encode.failure_message(error).SerializeToString()))


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
    in_result = answering(result(0, failure=encode.failure_message(error), attempts=3), segment(1), result(1))
    async with service(CreateEmbedding=aborting(error)) as target, connect(target) as client:
        with pytest.raises(EmbedwireError) as caught:
            await asyncio.wait_for(client.embed("m", Text("a"), request_id="mine", timeout=10), 10)
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


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
SAID = st.builds(
    errors.UpstreamErrorInfo,
    st.integers(100, 599),
    WORDS,
    WORDS.filter(bool),
    WORDS,
    st.dictionaries(
        st.sampled_from(["x-ratelimit-limit", "x-rate-limit-used", "ratelimit", "rate-limit", "retry-after"]),
        WORDS.filter(bool),
    ).map(lambda found: tuple(found.items())),
)
FAILURES = st.builds(
    failed,
    st.sampled_from(list(Reason)),
    WORDS,
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


@pytest.mark.parametrize("header", ["xratelimit-limit", "xrate-limit-used"])
def test_rate_limit_headers_of_every_spelling(header: str) -> None:
    """Each spelling of a rate limit header that the server passes on is read, from status and result."""
    error = failed(Reason.UPSTREAM_RATE_LIMITED, "slow down")
    error.upstream = errors.UpstreamErrorInfo(429, rate_limit_headers=((header, "25"),), message="slow down")
    assert by_status(error).failure == by_result(error)


def test_truncated_details() -> None:
    """Details that the server had to truncate still give reason, class, message and delay."""
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
    assert (caught.reason, caught.retry_delay, caught.message) == ("UPSTREAM_RATE_LIMITED", 5.0, text)
    assert len(by_result(error).violations) == 21


FUTURE: dict[str, tuple[int, type[EmbedwireError]]] = {
    "DEADLINE_EXCEEDED": (4, DeadlineExceededError),
    "UNAVAILABLE": (14, UnreachableError),
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
def test_an_unknown_reason_has_the_class_of_its_code(code: str) -> None:
    """An unknown reason keeps its name or its number, and the status code selects the class."""
    number, expected = FUTURE[code]
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason="BRAND_NEW", domain="embedwire"))
    details = status_pb2.Status(code=number, message="new", details=[info]).SerializeToString()
    caught = error_from_call(Call(grpc.StatusCode[code], "new", [(status.DETAILS_KEY, details)]), "mine")
    failure = read_failure(
        pb.Failure.FromString(pb.Failure(code=number, message="new").SerializeToString() + b"\x10\xe7\x07")
    )

    assert (type(caught), caught.reason, caught.code) == (expected, "BRAND_NEW", code)
    assert (type(failure.error()), failure.reason, failure.code) == (expected, "999", code)


@pytest.mark.parametrize(("number", "expected"), [(55, RequestError), (155, RefusedError), (255, UpstreamError)])
def test_an_unknown_reason_number_has_the_class_of_its_group(number: int, expected: type[EmbedwireError]) -> None:
    """An unknown reason number selects the class of the contract's group for that number."""
    failure = read_failure(pb.Failure(code=14, message="new", reason=number))  # type: ignore[arg-type]
    assert type(failure.error()) is expected


def test_a_failure_without_a_reason() -> None:
    """A Failure without a reason has the class of its code."""
    assert type(read_failure(pb.Failure(code=13, message="broken")).error()) is GatewayError
    assert type(read_failure(pb.Failure(code=14, message="gone")).error()) is UnreachableError


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
    "another domain": packed(error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="example.com")),
    "no reason": packed(error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()),
    "other details": packed(error_details_pb2.DebugInfo(detail="x"), pb.Segment(), status_pb2.Status(code=1)),
    "nothing": b"",
    "garbage": b"\xff\xff\xff\xff\x07not protobuf",
    "garbage within": status_pb2.Status(
        code=3,
        details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff\xff\x07no")],
    ).SerializeToString(),
    "no type": status_pb2.Status(code=3, details=[any_pb2.Any(value=b"abc")]).SerializeToString(),
    "not UTF-8": b"\x12\x02\xff\xfe",
}


@pytest.mark.parametrize("details", FOREIGN.values(), ids=FOREIGN)
async def test_another_servers_details(connect: Connect, details: bytes) -> None:
    """Foreign details or no details at all leave the code and the message of the failure."""

    async def create(_: Any, context: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "theirs", ((status.DETAILS_KEY, details),))

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed("m", Text("a"), request_id="mine", timeout=10)

    assert caught.value.failure == Failure("INVALID_ARGUMENT", "", "theirs")
    assert (caught.value.request_id, caught.value.attempts) == ("mine", 0)


@pytest.mark.parametrize("facts", [{"attempts": "many"}, {"http_status": ""}, {"http_status": "5xx"}])
def test_malformed_details_do_not_hide_a_failure(facts: dict[str, str]) -> None:
    """Details with malformed numbers do not hide the failure itself."""
    details = packed(error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="embedwire", metadata=facts))
    caught = error_from_call(Call(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", [(status.DETAILS_KEY, details)]), "mine")
    assert (type(caught), caught.reason, caught.message) == (RefusedError, "OVERLOADED", "busy")


@pytest.mark.parametrize("trailers", [None, (), [("x-request-id", "a")]])
def test_no_trailers(trailers: Any) -> None:
    """A call that ended without trailers or message is raised by its status code."""
    caught = error_from_call(Call(grpc.StatusCode.UNAVAILABLE, None, trailers), "mine")
    assert (type(caught), caught.failure) == (UnreachableError, Failure("UNAVAILABLE", "", ""))


async def test_unimplemented(connect: Connect) -> None:
    """UNIMPLEMENTED is a server failure: the target is another or an older server."""
    async with service() as target, connect(target) as client:
        calls = (
            client.embed("m", Text("a"), timeout=10),
            client.embed_unary("m", Text("a"), timeout=10),
            client.models(),
        )
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, GatewayError)
            assert (error.code, error.reason) == ("UNIMPLEMENTED", "")


@pytest.mark.parametrize("kind", [InThreads, InTheLoop])
async def test_a_server_that_refuses_an_upload_early(kind: type[InThreads] | type[InTheLoop]) -> None:
    """A status that arrives while a file is still being sent is always the one that is raised."""
    found = set()
    async with service() as target:
        for _ in range(15):
            async with connecting(kind)(target) as client:
                with pytest.raises(EmbedwireError) as caught:
                    await client.embed("m", Audio(chunks=[b"a"]), timeout=10)
                found.add(caught.value.code)
    assert found == {"UNIMPLEMENTED"}


async def test_connection_refused(connect: Connect) -> None:
    """A port without a server is UnreachableError, which is a ConnectionError and an OSError."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        async with connect(f"127.0.0.1:{taken.getsockname()[1]}") as client:
            for call in (
                client.embed("m", Text("a"), timeout=10),
                client.embed_unary("m", Text("a"), timeout=10),
                client.embed("m", Audio(chunks=[b"a"]), timeout=10),
                client.models(timeout=10),
            ):
                with pytest.raises(UnreachableError) as caught:
                    await call
                assert isinstance(caught.value, ConnectionError)
                assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "")
                assert caught.value.request_id


async def test_a_message_over_the_limit(connect: Connect, served: Served) -> None:
    """A message that gRPC itself rejects as too large is a RequestError."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed("marengo3.0", [Text("x" * (16 << 20)), Text("x" * 1000)], timeout=20)
    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "")


async def test_a_connection_that_breaks_in_an_answer(connect: Connect) -> None:
    """A connection that breaks in the middle of an answer is an EmbedwireError with the status code of gRPC."""

    async def create(_: Any, __: Context) -> AsyncGenerator[pb.CreateEmbeddingResponse]:
        yield segment()
        await asyncio.Event().wait()

    async with contextlib.AsyncExitStack() as server:
        target = await server.enter_async_context(service(CreateEmbedding=create))
        async with connect(target) as client:
            events = await client.stream("m", Text("a"), timeout=20)
            await anext(events)
            reading = asyncio.create_task(anext(events))
            await server.aclose()
            done, _ = await asyncio.wait([reading], timeout=10)
    assert done
    assert isinstance(reading.exception(), EmbedwireError)


async def test_exceptions_can_be_copied_and_pickled(connect: Connect, served: Served) -> None:
    """Exceptions of every class survive copy and pickle, which process pools need."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed("marengo3.0", Image(data=b"no image"), timeout=10)
    kinds = (RequestError, DeadlineExceededError, RefusedError, UpstreamError, GatewayError, UnreachableError)
    for error in [caught.value, *(kind(caught.value.failure, "mine", 3) for kind in kinds)]:
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(other) is type(error)
            assert (other.failure, other.request_id, other.attempts) == (
                error.failure,
                error.request_id,
                error.attempts,
            )
            assert str(other) == str(error)


@pytest.mark.parametrize("kind", [UnreachableError, DeadlineExceededError])
def test_an_os_error_has_no_errno(kind: type[EmbedwireError]) -> None:
    """Exceptions that are an OSError have no errno, text or path, which handlers of OSError would read."""
    error: Any = kind(Failure("UNAVAILABLE", "", "gone"), "mine", 3)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_str_of_an_error() -> None:
    """str() contains reason, message and request id, or the status code if gRPC ended the call."""
    assert str(by_status(failed(Reason.OVERLOADED, "busy"))) == "OVERLOADED: busy (request id mine)"
    assert str(Failure("UNAVAILABLE", "", "gone").error()) == "UNAVAILABLE: gone"


SECRET = "CANARY"


async def test_content_of_the_caller_is_not_in_repr(connect: Connect) -> None:
    """Neither texts, keys, bytes, names, URLs, vectors, messages of the upstream nor credentials are in any repr."""
    said = pb.UpstreamError(http_status=400, code="parameter_invalid", message=SECRET)
    failure = pb.Failure(
        code=3, reason=error_reason_pb2.ERROR_REASON_INPUT_REJECTED, message=SECRET, upstream_error=said
    )
    metadata = pb.MediaMetadata(input_filename=SECRET)
    sent = [
        segment(0, input_key=SECRET),
        result(0, input_key=SECRET, metadata=metadata),
        result(1, input_key=SECRET, failure=failure, metadata=pb.MediaMetadata(input_url=SECRET)),
    ]
    options = {"token": SECRET, "upstream_api_key": SECRET}
    asked = [Text(SECRET, key=SECRET), Audio(url=f"http://{SECRET}.test", key=SECRET)]
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target, **options) as client:
        events = [event async for event in await client.stream("m", asked, timeout=10)]
        embeddings = await client.embed("m", asked, timeout=10)
        inside: Any = client
        shown = [inside.client, vars(inside.client)["_connection"], *events, *embeddings, events]
    with pytest.raises(RequestError) as caught:
        embeddings[1].result.raise_for_failure()
    media: list[Any] = [
        kind(**source, file_name=SECRET, key=SECRET)
        for kind in (Image, Audio)
        for source in ({"path": SECRET}, {"data": SECRET.encode()}, {"chunks": [SECRET.encode()]})
    ]
    shown += [*asked, *media, caught.value, caught.value.failure, caught.value.upstream]
    for item in shown:
        assert SECRET.lower() not in repr(item).lower(), type(item)
    assert SECRET in str(caught.value)


async def test_each_failure_has_the_request_id_of_its_call(served: Served) -> None:
    """A failure of one input among several carries the request id of its own call."""
    async with AsyncClient(served.app.target) as client:
        calls = [
            client.embed("marengo3.0", [Text("a"), Image(data=b"no")], request_id=f"id-{n}", timeout=20)
            for n in range(5)
        ]
        for number, (_, bad) in enumerate(await asyncio.gather(*calls)):
            with pytest.raises(RequestError) as caught:
                bad.result.raise_for_failure()
            assert caught.value.request_id == f"id-{number}"
