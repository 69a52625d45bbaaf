"""Requests of both versions of the API: URL, headers, credential, endpoint for metrics."""

import dataclasses

import httpx
import pytest

from embedwire_server.core.errors import Reason
from embedwire_server.core.inputs import AssetSource, AudioInput, FileSource, ImageInput
from embedwire_server.core.models import MARENGO_27
from embedwire_server.core.results import ReplySummary
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.upstreams.base import Job
from embedwire_server.upstreams.http.exchange import Request
from embedwire_server.upstreams.http.json_body import JsonBody
from embedwire_server.upstreams.twelvelabs.errors import Subject
from embedwire_server.upstreams.twelvelabs.v1 import V1Dialect
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect
from embedwire_server.upstreams.twelvelabs.v2_reply import TaskReply, TaskStatus
from tests.unit.upstreams.twelvelabs.v2_support import AUDIO, KEY, call

BASE_URL = "https://api.test:8443/v1.3"
V1 = V1Dialect(BASE_URL, KEY, "embedwire/0")
V2 = V2Dialect(BASE_URL, KEY, "embedwire/0")
FILE = FileSource(InMemoryContent(b"abcd"), "a.png", "image/png")
COMMON = {
    b"host": b"api.test:8443",
    b"accept": b"application/json",
    b"accept-encoding": b"identity",
    b"user-agent": b"embedwire/0",
}


def headers(request: Request) -> dict[bytes, bytes]:
    found = {name.lower(): value for name, value in request.headers}
    assert len(found) == len(request.headers)
    return found


def test_synchronous() -> None:
    """A synchronous request of v2 is a POST of JSON with its length, the key and no compression."""
    request = V2.encode(call(), 0)
    assert (request.method, str(request.url), request.endpoint) == (b"POST", f"{BASE_URL}/embed-v2", "/embed-v2")
    assert request.body == b'{"input_type":"text","model_name":"marengo3.0","text":{"input_text":"a fox"}}'
    length = str(len(request.body)).encode()
    about = {b"content-type": b"application/json", b"content-length": length, b"x-api-key": KEY.encode()}
    assert headers(request) == COMMON | about


def test_with_a_file() -> None:
    """A file is streamed, and its length in base64 is in the header."""
    request = V2.encode(call(ImageInput("k", FILE)), 4)
    assert isinstance(request.body, JsonBody)
    assert headers(request)[b"content-length"] == str(request.body.length).encode()


def test_task_creation() -> None:
    """A task is created by a POST to its own endpoint."""
    request = V2.encode_task(call(AudioInput("k", FILE)), 4)
    assert (request.method, str(request.url)) == (b"POST", f"{BASE_URL}/embed-v2/tasks")
    assert request.endpoint == "/embed-v2/tasks"


def test_other_requests() -> None:
    """Any request with an identifier in its path has the key, no body unless one is given, and its own endpoint."""
    for method in (b"GET", b"DELETE"):
        request = V2.request(call(), method, "/embed-v2/tasks/a1", "/embed-v2/tasks")
        assert (request.method, str(request.url)) == (method, f"{BASE_URL}/embed-v2/tasks/a1")
        assert (request.body, request.endpoint) == (b"", "/embed-v2/tasks")
        assert headers(request) == COMMON | {b"x-api-key": KEY.encode()}
    request = V2.request(call(), b"POST", "/assets/multipart-uploads", "/assets/multipart-uploads", {"a": "é"})
    assert request.body == '{"a":"é"}'.encode()
    assert headers(request)[b"content-length"] == b"10"


def test_v1() -> None:
    """Requests of v1 have the endpoint of the model."""
    model = dataclasses.replace(MARENGO_27, endpoint="/other")
    request = V1.encode(call(model=model), 0)
    assert (request.method, str(request.url), request.endpoint) == (b"POST", f"{BASE_URL}/other", "/other")
    assert headers(request).items() >= (COMMON | {b"x-api-key": KEY.encode()}).items()


@pytest.mark.parametrize("dialect", [V1, V2], ids=["v1", "v2"])
def test_credentials(dialect: V1Dialect | V2Dialect) -> None:
    """A call's own credential replaces that of the server, also in errors; neither is in a repr."""
    wanted = call(credential="the caller's")
    request = dialect.encode(wanted, 0)
    assert headers(request)[b"x-api-key"] == b"the caller's"
    assert "caller's" not in repr(request)
    failure = dialect.error(wanted, httpx.Response(401), b'{"message":"the caller\'s"}')
    assert failure.reason is Reason.CALLER_UPSTREAM_CREDENTIALS
    assert failure.upstream is not None
    assert failure.upstream.message == "[key]"
    assert dialect.error(call(), httpx.Response(401), b"").reason is Reason.UPSTREAM_CREDENTIALS
    without = type(dialect)(BASE_URL, None, "embedwire/0").encode(call(), 0)
    assert b"x-api-key" not in headers(without)


def test_errors() -> None:
    """Each dialect interprets a missing endpoint, and v2 also a missing task."""
    missing = httpx.Response(404)
    assert "api_version" in V1.error(call(), missing, b"").message
    assert V2.error(call(), missing, b"").reason is Reason.UPSTREAM_INCOMPATIBLE
    assert V2.error(call(), missing, b"", Subject.TASK).reason is Reason.UPSTREAM_TASK_NOT_FOUND


@pytest.mark.parametrize("subject", [Subject.EMBED, Subject.TASK_CREATION])
def test_a_missing_asset(subject: Subject) -> None:
    """A 404 for a request that refers to an asset means that the asset is missing, not the endpoint."""
    missing = httpx.Response(404)
    body = b'{"error":{"code":"NOT_FOUND","message":"No such asset."}}'
    for wanted in (call(ImageInput("k", AssetSource("a1"))), call(AUDIO, job=Job(asset_id="a1"))):
        failure = V2.error(wanted, missing, body, subject)
        assert (failure.reason, failure.message) == (Reason.RESOURCE_NOT_FOUND, "No such asset.")
    assert V2.error(call(AUDIO), missing, body, subject).reason is Reason.UPSTREAM_INCOMPATIBLE


def test_failed_task() -> None:
    """A failed task becomes a failure with its message."""
    reply = TaskReply(TaskStatus.FAILED, [], ReplySummary("m"), "The embedding request was invalid.")
    failure = V2.task_failure(call(AUDIO), reply)
    assert (failure.reason, failure.message) == (Reason.INPUT_REJECTED, "The embedding request was invalid.")


def test_parsers() -> None:
    """The parsers of the dialect know the call and its credential."""
    data = b'{"data":[{"embedding":[1,2,3]}],"metadata":{"input_url":"x' + KEY.encode() + b'"}}'
    parser = V2.parser(call())
    assert len(parser.feed(data)) == 1
    assert parser.finish() == ReplySummary("marengo3.0", input_url="x[key]")
    task = V2.task_parser(call(AUDIO))
    task.feed(b'{"status":"processing"}')
    assert task.finish().status is TaskStatus.PROCESSING
