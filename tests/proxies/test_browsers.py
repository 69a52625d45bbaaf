"""gRPC-Web through Envoy, as a browser sends it."""

import base64
from collections.abc import Iterator

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2 as reasons
from tests.proxies.calls import SECONDS, failure_in, text
from tests.proxies.proxy import Proxy
from tests.support import http2
from tests.support.messages import request, results, segments, text_input
from tests.support.upstreams import ScriptedHttpServer

SERVICE = "/embedwire.v1.EmbeddingService"
PAGE = "https://app.example.com"
TRAILERS = 0x80  # flag of the last frame
OK, INVALID_ARGUMENT = str(grpc.StatusCode.OK.value[0]), str(grpc.StatusCode.INVALID_ARGUMENT.value[0])


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The frames of a response: their flags and contents."""
    while body:
        end = 5 + int.from_bytes(body[1:5], "big")
        yield body[0], body[5:end]
        body = body[end:]


async def call(envoy: Proxy, method: str, message: Message) -> tuple[list[bytes], httpx.Headers]:
    """The messages of the answer, and its headers and trailers."""
    async with httpx.AsyncClient(verify=envoy.trusted, timeout=SECONDS) as browser:
        answer = await browser.post(
            f"https://{envoy.target}{SERVICE}/{method}",
            content=http2.message(message.SerializeToString()),
            headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": PAGE},
        )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/grpc-web+proto")
    messages = [content for flag, content in frames(answer.content) if not flag & TRAILERS]
    fields = [content.decode() for flag, content in frames(answer.content) if flag & TRAILERS]
    lines = [line.split(":", 1) for text in fields for line in text.splitlines()]
    return messages, httpx.Headers([*answer.headers.multi_items(), *((name, value.strip()) for name, value in lines)])


@pytest.mark.usefixtures("upstream")
async def test_a_unary_call_of_a_browser(envoy: Proxy) -> None:
    """A unary call is answered by a message and the status."""
    messages, fields = await call(envoy, "CreateEmbeddingUnary", text())
    (answer,) = map(pb.CreateEmbeddingUnaryResponse.FromString, messages)

    assert answer.embeddings[0].result.segment_count == 1
    assert fields["grpc-status"] == OK


@pytest.mark.usefixtures("upstream")
async def test_a_stream_to_a_browser(envoy: Proxy) -> None:
    """A stream is answered by several messages and the status."""
    messages, fields = await call(envoy, "CreateEmbedding", request(*[text_input()] * 3))
    responses = [pb.CreateEmbeddingResponse.FromString(data) for data in messages]

    assert (len(segments(responses)), sorted(results(responses))) == (3, [0, 1, 2])
    assert fields["grpc-status"] == OK


async def test_an_error_of_a_call_of_a_browser(envoy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A failed call has the status and the failure, in fields that the page may read."""
    messages, fields = await call(envoy, "CreateEmbeddingUnary", text(text_input("")))
    failure = failure_in(base64.b64decode(fields["grpc-status-details-bin"] + "=="))
    readable = fields["access-control-expose-headers"].split(",")

    assert (messages, fields["grpc-status"]) == ([], INVALID_ARGUMENT)
    assert failure.reason == reasons.ERROR_REASON_INVALID_REQUEST
    assert failure.field_violations[0].field == "inputs[0].text.value"
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin"} <= set(readable)
    assert upstream.visits == []


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("https://other.example.com", None)])
async def test_only_the_configured_page_may_call(envoy: Proxy, origin: str, allowed: str | None) -> None:
    """Envoy answers the preflight request of the configured page, and permits the headers of gRPC-Web and a token."""
    asked = {"origin": origin, "access-control-request-method": "POST"}
    async with httpx.AsyncClient(verify=envoy.trusted, timeout=SECONDS) as browser:
        url = f"https://{envoy.target}{SERVICE}/CreateEmbedding"
        answer = await browser.options(url, headers=asked)
    headers = answer.headers.get("access-control-allow-headers", "").split(",")

    assert answer.headers.get("access-control-allow-origin") == allowed
    assert {"authorization", "content-type", "grpc-timeout", "x-grpc-web"} <= set(headers) or allowed is None
