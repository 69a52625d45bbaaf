"""Exceptions as objects: copies, text and repr, and their request id."""

import asyncio
import copy
import pickle
from typing import Any

import pytest

from embedwire import (
    AsyncClient,
    Audio,
    DeadlineExceededError,
    EmbedwireError,
    Failure,
    GatewayError,
    Image,
    RefusedError,
    RequestError,
    Text,
    TransportError,
    UpstreamError,
)
from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import Reason
from tests.e2e.client.callers import Connect
from tests.e2e.client.failures import by_status, failed
from tests.e2e.client.services import answering, result, segment, service
from tests.support.serving import Served


async def test_exceptions_can_be_copied_and_pickled(connect: Connect, served: Served) -> None:
    """Exceptions of every class survive copy and pickle, which process pools need."""
    async with connect(served.app.target) as client:
        with pytest.raises(RequestError) as caught:
            await client.embed("marengo3.0", Image(data=b"no image"), timeout=10)
    kinds = (RequestError, DeadlineExceededError, RefusedError, UpstreamError, GatewayError, TransportError)
    for error in [caught.value, *(kind(caught.value.failure, "mine", 3) for kind in kinds)]:
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(other) is type(error)
            assert (other.failure, other.request_id, other.attempts) == (
                error.failure,
                error.request_id,
                error.attempts,
            )
            assert str(other) == str(error)


@pytest.mark.parametrize("kind", [TransportError, DeadlineExceededError])
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
