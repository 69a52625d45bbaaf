"""Errors of the upstream in the formats of other frameworks and proxies, and the input that each belongs to."""

import gzip
import json
import threading
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from tests.support.messages import failed, request, results, text_input, url_input
from tests.support.raw_upstream import RawUpstream, Step, http
from tests.support.serving import Scripted, Served, serving
from tests.support.upstreams import Visit, reply

WORDS = "The text is too long."
BODIES: dict[str, tuple[bytes, int]] = {
    "70 KB of escapes": (json.dumps({"code": "parameter_invalid", "message": f"{WORDS} {'ä' * 12_000}"}).encode(), 400),
    "10 MB, the message first": (json.dumps({"message": WORDS, "input": "x" * 10_000_000}).encode(), 400),
    "error, a string": (json.dumps({"error": WORDS}).encode(), 400),
    "detail": (json.dumps({"detail": [{"loc": ["body"], "msg": WORDS}]}).encode(), 422),
    "problem": (json.dumps({"title": "Bad Request", "detail": WORDS}).encode(), 415),
    "message, a list": (json.dumps({"code": "parameter_invalid", "message": [WORDS]}).encode(), 400),
    "fields": (json.dumps({"text": [WORDS]}).encode(), 400),
    "not UTF-8": (f'{{"message": "{WORDS} '.encode() + b'caf\xe9"}', 400),
    "UTF-16": (json.dumps({"message": WORDS}).encode("utf-16"), 400),
    "HTML": (f"<html><head><title>{WORDS}</title></head>".encode(), 400),
    "XML": (f"<Error><Code>Invalid</Code><Message>{WORDS}</Message></Error>".encode(), 400),
    "text": (WORDS.encode(), 400),
    "quotes what servers for TLS say": (
        json.dumps({"message": f"{WORDS} The plain HTTP request was sent to HTTPS port"}).encode(),
        400,
    ),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
async def test_the_upstreams_message_reaches_the_caller(scripted: Scripted, body: bytes, status: int) -> None:
    """The message of a rejected input reaches the caller with its client-error code, in every error format."""

    async def script(visit: Visit) -> None:
        await visit.answer(body, status)

    async with scripted(script, retry_max_attempts=1) as (served, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
    failure = failed(caught.value)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INPUT_REJECTED")
    assert WORDS in failure.message
    assert WORDS in failure.failure.message


ERROR = json.dumps({"code": "parameter_invalid", "message": WORDS}).encode()
HALF = b"Content-Length: 1000\r\n\r\n" + ERROR
BROKEN: dict[str, list[bytes | None]] = {
    "cut off": [HALF, None],
    "cut off before it begins": [b"Content-Length: 1000\r\n\r\n", None],
    "cut off between chunks": [b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(ERROR), ERROR), None],
    "broken chunk": [b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n" % (len(ERROR), ERROR)],
    "half of gzip": [b"Content-Encoding: gzip\r\n" + http(gzip.compress(ERROR)[:-8]).partition(b"\r\n")[2]],
}


async def reason_of(served: Served) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
            pass
    return str(failed(caught.value).info.reason)


@pytest.mark.parametrize("steps", BROKEN.values(), ids=BROKEN)
async def test_a_broken_body_does_not_change_the_class_of_a_status(steps: list[bytes | None]) -> None:
    """A 400 with a truncated or broken body stays a client error."""
    upstream = RawUpstream(lambda _: [b"HTTP/1.1 400 Bad Request\r\n", *steps])
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert await reason_of(served) == "INPUT_REJECTED"


@pytest.mark.parametrize("last", [None, threading.Event()], ids=["cut off", "never ends"])
async def test_a_broken_body_does_not_hide_a_rate_limit(last: Step) -> None:
    """A 429 whose body is cut off or never ends delays the next calls for as long as its headers ask."""
    upstream = RawUpstream(lambda _: [b"HTTP/1.1 429 No\r\nRetry-After: 60\r\nContent-Length: 1000\r\n\r\n{", last])
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert await reason_of(served) == "UPSTREAM_RATE_LIMITED"
            assert await reason_of(served) == "RATE_LIMITED"
    assert len(upstream.requests) == 1


async def test_a_redirect_is_reported_and_not_followed(scripted: Scripted) -> None:
    """A redirect fails with a hint to correct the base URL; neither the input nor the key is sent to its target."""

    async def script(visit: Visit) -> None:
        await visit.answer(b"", 308, Location="https://api.example.com/v1.4/embed")

    async with scripted(script) as (served, upstream):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in served.stub.CreateEmbedding(request(text_input()), timeout=20):
                pass
    failure = failed(caught.value)
    assert failure.info.reason == "UPSTREAM_INCOMPATIBLE"
    assert "redirects to https://api.example.com (HTTP status 308)" in failure.message
    assert len(upstream.visits) == 1


async def _fails_media(visit: Visit) -> None:
    """A good reply for a text; for each other input an error of the input or of the upstream."""
    if b"image_url" in visit.body:
        await visit.answer({"code": "parameter_invalid", "message": "not an image"}, 400)
    elif b"audio_url" in visit.body:
        await visit.answer(b"", 503)
    elif b"too long" in visit.body:
        await visit.answer({**reply(segments=0, error_message=WORDS)})
    else:
        await visit.answer(reply())


SEVERAL: list[Any] = [
    text_input("a fox"),
    url_input("image", "http://media.test/a.png"),
    url_input("audio", "http://media.test/a.mp3"),
    text_input("too long"),
]
NAMED = {
    1: ("inputs[1].image: not an image", ["inputs[1].image"]),
    2: ("inputs[2].audio: the upstream answered with HTTP status 503", []),
    3: (f"inputs[3].text: {WORDS}", ["inputs[3].text"]),
}


def named(found: dict[int, pb.InputResult]) -> dict[int, tuple[str, list[str]]]:
    return {
        index: (result.failure.message, [violation.field for violation in result.failure.field_violations])
        for index, result in found.items()
        if result.HasField("failure")
    }


async def test_a_failure_names_its_input(scripted: Scripted) -> None:
    """Each failure of several inputs names its input, and has a violation if the input is at fault."""
    async with scripted(_fails_media, retry_max_attempts=1) as (served, _):
        events = [event async for event in served.stub.CreateEmbedding(request(*SEVERAL), timeout=20)]
        asked = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=SEVERAL)
        unary = await served.stub.CreateEmbeddingUnary(asked, timeout=20)
        uploaded = served.stub.CreateEmbeddingFromUpload(
            iter([pb.CreateEmbeddingFromUploadRequest(request=request(*SEVERAL))]), timeout=20
        )
        from_upload = results([event async for event in uploaded])

    assert named(results(events)) == NAMED
    assert named({index: item.result for index, item in enumerate(unary.embeddings)}) == NAMED
    assert named(from_upload) == {
        index: (f"request.{message}", [f"request.{field}" for field in fields])
        for index, (message, fields) in NAMED.items()
    }


async def test_the_field_of_a_failed_file_is_named_once(scripted: Scripted) -> None:
    """A failure of the gateway that already names its field is not changed."""
    source = pb.MediaSource(upload=pb.UploadSource(size_bytes=5))
    asked = request(text_input(), pb.Input(image=pb.ImageInput(source=source)))
    messages = [
        pb.CreateEmbeddingFromUploadRequest(request=asked),
        pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(input_index=1, data=b"abc", last=True)),
    ]
    async with scripted(_fails_media, retry_max_attempts=1) as (served, _):
        events = [event async for event in served.stub.CreateEmbeddingFromUpload(iter(messages), timeout=20)]
    failure = results(events)[1].failure
    field = "request.inputs[1].image.source.upload.size_bytes"
    assert failure.reason == error_reason_pb2.ERROR_REASON_UPLOAD_MISMATCH
    assert failure.message == f"{field}: 5 bytes were declared, 3 were received"
    assert [violation.field for violation in failure.field_violations] == [field]
