"""The largest failures arrive whole through proxies with their default buffers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2 as reasons
from embedwire_server.rpc.error_details import MAX_TRAILERS_BYTES
from tests.proxies.calls import SECONDS, failed, failed_or_none, failure_of, size_of_trailers, text
from tests.proxies.proxy import Proxy
from tests.proxies.stage import Stage
from tests.support import media
from tests.support.messages import file_input, request, segments, text_input, url_input
from tests.support.upstreams import Script, ScriptedHttpServer, Visit, answer, reply

ASCII = "The text is longer than the model reads. " * 22
JAPANESE = "テキストはモデルが読める長さを超えています。" * 100
# Of different lengths, since the longest ones are left out first.
HEADERS = {f"X-RateLimit-Custom-{length:03}": "9" * length for length in range(1, 101, 4)}
DOCS_URL = f"https://docs.test/{'d' * 900}"
REQUEST_ID = ("x-request-id", "r" * 64)


def rejection(message: str, docs_url: str = "", **headers: str) -> Script:
    """A script that rejects the input."""

    async def script(visit: Visit) -> None:
        await visit.answer({"code": "parameter_invalid", "message": message, "docs_url": docs_url}, 400, **headers)

    return script


@dataclasses.dataclass(frozen=True)
class Case:
    """A failure.

    Attributes:
        script: of the upstream.
        inputs: of the call.
        least: bytes of the trailers.
        part: of the failure, which must not be empty.
    """

    script: Script
    inputs: Sequence[pb.Input]
    least: int
    part: str
    reason: int = reasons.ERROR_REASON_INPUT_REJECTED


CASES = {
    "violations": Case(
        answer,
        [url_input("audio", "ftp://media.test/a")] * 256,
        2_600,
        "field_violations",
        reasons.ERROR_REASON_INVALID_REQUEST,
    ),
    "ascii": Case(rejection(ASCII, DOCS_URL), [text_input()], 2_700, "upstream_error"),
    "japanese": Case(rejection(JAPANESE, DOCS_URL), [text_input()], 2_400, "upstream_error"),
    "headers": Case(rejection(ASCII[:40], **HEADERS), [text_input()], 2_700, "upstream_error"),
    "headers-and-japanese": Case(rejection(JAPANESE, **HEADERS), [text_input()], 2_700, "upstream_error"),
}


@pytest.mark.parametrize("method", ["CreateEmbeddingUnary", "CreateEmbedding"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_largest_failures_arrive_whole(
    stage: Stage, proxy: Proxy, upstream: ScriptedHttpServer, case: Case, method: str
) -> None:
    """Behind a proxy a failed call has the same code, message and failure as without it."""
    upstream.script = case.script

    async def ending(stub: Any) -> grpc.aio.AioRpcError:
        asked = text(*case.inputs) if method == "CreateEmbeddingUnary" else request(*case.inputs)
        return await failed(getattr(stub, method)(asked, timeout=SECONDS, metadata=[REQUEST_ID]))

    direct, error = await ending(stage.replicas[0].stub), await ending(proxy.stub)
    failure = failure_of(error)

    assert case.least < size_of_trailers(direct) <= MAX_TRAILERS_BYTES
    assert (error.code(), error.details()) == (direct.code(), direct.details())
    assert failure is not None
    assert failure == failure_of(direct)
    assert failure.reason == case.reason
    assert getattr(failure, case.part)


async def test_a_large_failure_after_a_segment_arrives_whole(proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A failure in the trailers, after a message and not in place of it, arrives whole as well."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", error_message=JAPANESE))

    upstream.script = script
    call = proxy.stub.CreateEmbedding(request(url_input("audio", "http://media.test/a.mp3")), timeout=SECONDS)
    first = [await anext(aiter(call))]
    error = await failed(call)
    failure = failure_of(error)

    assert len(segments(first)) == 1
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failure is not None
    assert failure.message.startswith(JAPANESE[:100])


async def test_quotas_arrive(proxy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A call above a rate limit has the quota and the delay in its failure."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply("image_embedding"))

    upstream.script = script
    image = file_input("image", media.png(), "a.png")
    outcomes = [await failed_or_none(proxy.stub.CreateEmbeddingUnary(text(image), timeout=1)) for _ in range(3)]
    error = outcomes[-1]  # the replicas take one image a minute
    assert error is not None
    failure = failure_of(error)

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure is not None
    assert failure.quota_violations
    assert failure.retry_delay.seconds > 0
