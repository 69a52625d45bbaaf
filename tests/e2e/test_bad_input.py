"""Invalid requests: rejected before any upstream call, with the field, the limit and a remedy."""

import asyncio
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, file_input, request, text_input, upload_input, url_input
from tests.support.serving import Serve, Served, until

SERVICE = "/embedwire.v1.EmbeddingService/"
NAN = float("nan")


def truncated(value: pb.Truncate.ValueType) -> pb.Input:
    return pb.Input(text=pb.TextInput(value="a", truncate=value))


def offset(seconds: float) -> pb.Input:
    source = pb.MediaSource(url="http://media.test/a")
    return pb.Input(audio=pb.AudioInput(source=source, start_offset_sec=seconds))


CASES: dict[str, tuple[pb.CreateEmbeddingRequest, str, str]] = {
    "no-inputs": (request(), "inputs", "at least one"),
    "too-many-inputs": (request(*[text_input()] * 257), "inputs", "256"),
    "no-modality": (request(pb.Input(key="k")), "inputs[0]", "text, image, audio"),
    "no-source": (request(pb.Input(image=pb.ImageInput())), "inputs[0].image.source", "url, file, upload"),
    "empty-file": (request(file_input("image", b"")), "inputs[0].image.source.file.data", "empty"),
    "no-model": (request(text_input(), model=""), "model_name", "required"),
    "unknown-model": (request(text_input(), model="marengo9"), "model_name", "marengo3.0"),
    "truncate-none": (request(truncated(pb.TRUNCATE_NONE)), "inputs[0].text.truncate", "TRUNCATE_END"),
    "truncate-start": (request(truncated(pb.TRUNCATE_START)), "inputs[0].text.truncate", "TRUNCATE_END"),
    "negative-offset": (request(offset(-1)), "inputs[0].audio.start_offset_sec", "finite"),
    "offset-not-a-number": (request(offset(NAN)), "inputs[0].audio.start_offset_sec", "finite"),
    "empty-text": (request(text_input("")), "inputs[0].text.value", "empty"),
    "long-text": (request(text_input("é" * 32769)), "inputs[0].text.value", "65536"),
    "ftp": (request(text_input(), url_input("image", "ftp://a/b")), "inputs[1].image.source.url", "http://"),
    "path": (request(url_input("image", "/tmp/a.png")), "inputs[0].image.source.url", "http://"),
    "user-info": (request(url_input("audio", "http://me:pw@a/b")), "inputs[0].audio.source.url", "user info"),
    "control": (request(url_input("audio", "http://a/b\r\nX: y")), "inputs[0].audio.source.url", "control"),
    "long-url": (request(url_input("audio", "http://a/" + "b" * 9000)), "inputs[0].audio.source.url", "8192"),
    "no-host": (request(url_input("audio", "http:///a")), "inputs[0].audio.source.url", "host"),
    "large-image": (
        request(file_input("image", bytes(5 * 2**20 + 1)), model="marengo2.7"),
        "inputs[0].image.source.file.data",
        "5242880",
    ),
    "upload": (request(upload_input("image")), "inputs[0].image.source.upload", "CreateEmbeddingFromUpload"),
    "long-key": (request(text_input(key="k" * 257)), "inputs[0].key", "256"),
}


@pytest.mark.parametrize(("asked", "field", "says"), CASES.values(), ids=CASES)
async def test_bad_input_is_refused(served: Served, asked: pb.CreateEmbeddingRequest, field: str, says: str) -> None:
    """INVALID_ARGUMENT names the field by its path, the limit and a remedy; the upstream is not called."""
    unary = pb.CreateEmbeddingUnaryRequest.FromString(asked.SerializeToString())
    for answer in (anext(aiter(served.stub.CreateEmbedding(asked, timeout=20))), _wait(served, unary)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answer
        failure = failed(caught.value)
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert says in failure.fields[field]

    await until(lambda: served.metric("embedwire_requests_total", reason="INVALID_REQUEST") == 2)
    assert served.metric("embedwire_upstream_requests_total") == 0


async def _wait(served: Served, asked: pb.CreateEmbeddingUnaryRequest) -> pb.CreateEmbeddingUnaryResponse:
    return await served.stub.CreateEmbeddingUnary(asked, timeout=20)


async def test_all_faults_are_reported_at_once(served: Served) -> None:
    """The details list every fault, at most 20 and then the number of others."""
    inputs = [text_input("")] * 30
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(served.stub.CreateEmbedding(request(*inputs, model="nope"), timeout=20)))
    fields = failed(caught.value).fields

    assert len(fields) == 21
    assert fields[""] == "and 11 more"


@pytest.mark.parametrize("method", ["CreateEmbedding", "CreateEmbeddingUnary", "CreateEmbeddingFromUpload"])
async def test_malformed_bytes_are_invalid(served: Served, method: str) -> None:
    """Bytes that are not a valid message are INVALID_ARGUMENT, never UNKNOWN."""
    bytes_only: dict[str, Any] = {"request_serializer": bytes, "response_deserializer": bytes}

    async def messages() -> Any:
        yield b"\xff\xff\xff"

    call: Any
    if method == "CreateEmbedding":
        call = served.channel.unary_stream(SERVICE + method, **bytes_only)(b"\xff\xff\xff", timeout=60)
    elif method == "CreateEmbeddingUnary":
        call = served.channel.unary_unary(SERVICE + method, **bytes_only)(b"\xff\xff\xff", timeout=60)
    else:
        call = served.channel.stream_stream(SERVICE + method, **bytes_only)(messages(), timeout=60)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if method == "CreateEmbeddingUnary" else anext(aiter(call)))
    failure = failed(caught.value)

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


async def test_a_message_over_the_limit_is_refused(served: Served) -> None:
    """A request of more than 16 MiB is RESOURCE_EXHAUSTED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(served.stub.CreateEmbedding(request(file_input("audio", bytes(17 << 20))), timeout=20)))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_two_servers_cannot_share_a_port(served: Served, serve: Serve) -> None:
    """A second server on the same port fails to start, rather than taking half of the calls."""
    with pytest.raises(OSError, match=f"--listen {served.app.target}: Address already in use"):
        async with serve(listen=served.app.target):
            await asyncio.sleep(0)
